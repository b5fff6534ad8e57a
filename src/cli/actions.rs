//! `feebox actions`

use clap::Args;
use uuid::Uuid;

use super::{
    Overrides, follow,
    print::{self, time},
};
use crate::{
    database::Database,
    operator::{ActionFilter, ActionView, actions},
};

/// Options of `feebox actions`.
#[derive(Args, Debug)]
pub struct Actions {
    /// Only actions that concern this quote
    #[arg(long, value_name = "ID")]
    quote: Option<Uuid>,
    /// Only actions older than this one, such as the last of the previous page
    #[arg(long, value_name = "ACTION")]
    before: Option<Uuid>,
    /// Most actions to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Go on with those that come, one a line
    #[arg(long, conflicts_with = "before")]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Actions {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let db = Database::connect(&overrides.settings()?.database).await?;
        let filter = ActionFilter { quote_id: self.quote, before: self.before };
        if self.follow {
            let newest = async |limit: u64| {
                let page = actions::list(db.connection(), &filter, limit).await?;
                Ok(page.rows.into_iter().map(ActionView::from).collect())
            };
            return follow::follow(newest, |action| action.id, self.json, row).await;
        }
        let page = actions::list(db.connection(), &filter, self.limit).await?;
        let rows: Vec<_> = page.rows.into_iter().map(ActionView::from).collect();
        if self.json {
            return print::json(&rows);
        }
        say!("{}", print::table(["when", "who", "what", "to what, and why"], rows.iter().map(row)));
        Ok(())
    }
}

fn row(action: &ActionView) -> [String; 4] {
    let reason = action.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    [time(action.created_at), action.actor.clone(), action.action.clone(), format!("{}{reason}", action.target)]
}
