//! `feebox causes`

use clap::Args;

use super::{
    Overrides,
    outbox::Status,
    print::{self, or_dash, time},
};
use crate::{
    database::Database,
    inspection::{self, CauseGroup},
};

/// Options of `feebox causes`.
#[derive(Args, Debug)]
pub struct Causes {
    /// Only events with this status
    #[arg(long)]
    status: Option<Status>,
    /// Only events for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Causes {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let db = Database::connect(&overrides.settings()?.database).await?;
        let status = self.status.map(Into::into);
        let found = inspection::causes(&db, status, self.destination.as_deref()).await?;
        if self.json {
            return print::json(&found);
        }
        say!("{}", print::table(["events", "quotes", "cause", "money", "last seen"], found.causes.iter().map(row)));
        if !found.is_complete {
            say!("There are more events than these: of each cause only the newest are counted.");
        }
        Ok(())
    }
}

fn row(group: &CauseGroup) -> [String; 5] {
    let money = group.money.iter().map(|money| format!("{} {}", money.amount_minor, money.currency));
    [
        group.events.to_string(),
        group.quotes.to_string(),
        group.cause.clone(),
        money.collect::<Vec<_>>().join(", "),
        or_dash(group.last_seen.map(time)),
    ]
}
