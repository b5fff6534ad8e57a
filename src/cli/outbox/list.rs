//! `feebox outbox list`

use clap::Args;
use uuid::Uuid;

use super::{
    super::{
        follow,
        print::{self, time},
    },
    filter::Filter,
};
use crate::{
    database::{Database, Listed},
    inspection::{self, EventFilter, EventView},
};

/// Options of `feebox outbox list`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only events older than this one, such as the last of the previous page
    #[arg(long, value_name = "EVENT")]
    before: Option<Uuid>,
    /// Most events to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Go on with those that come, one a line
    #[arg(long, conflicts_with = "before")]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let mut filter = EventFilter { before: self.before, ..self.filter.into() };
        if self.follow {
            let newest = async |limit: u64| {
                let page = inspection::list(db.connection(), &filter, limit).await?;
                Ok(inspection::views(db, page.rows.into_iter().filter_map(Listed::read).collect()).await?)
            };
            // One that has changed is shown again.
            let state = |event: &EventView| (event.id, event.status.clone(), event.attempts);
            return follow::follow(newest, state, self.json, row).await;
        }
        // A page may have fewer rows than `limit` although more follow.
        let mut events = Vec::new();
        loop {
            let page = inspection::list(db.connection(), &filter, self.limit - events.len() as u64).await?;
            events.extend(page.rows);
            if page.next.is_none() || events.len() as u64 >= self.limit {
                break;
            }
            filter.before = page.next;
        }
        // Unreadable events cannot be shown as rows; they are counted below.
        let unreadable = events.iter().filter(|event| matches!(event, Listed::Unreadable(_))).count();
        let events = inspection::views(db, events.into_iter().filter_map(Listed::read).collect()).await?;
        if self.json {
            return print::json(&events);
        }
        say!("{}", print::table(["event", "status", "due", "why"], events.iter().map(row)));
        if unreadable > 0 {
            say!("{unreadable} more events cannot be read; GET /v1/outbox lists their ids");
        }
        Ok(())
    }
}

fn row(event: &EventView) -> [String; 4] {
    [event.id.to_string(), event.status.clone(), time(event.due_at), event.why.clone()]
}
