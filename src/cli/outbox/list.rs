//! `feebox outbox list`

use clap::Args;
use uuid::Uuid;

use super::{
    super::print::{self, or_dash, time},
    Status,
};
use crate::{
    database::{Database, Listed},
    inspection::{self, EventFilter, EventView},
};

/// Characters of an error that a row shows.
const ERROR_LENGTH_MAX: usize = 60;

/// Options of `feebox outbox list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only events with this status
    #[arg(long)]
    status: Option<Status>,
    /// Only events for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only events of this type, for example quote.cancelled
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events of this quote
    #[arg(long, value_name = "ID")]
    quote: Option<Uuid>,
    /// Only events whose last error contains this text, ignoring case; without --status those that are neither delivered nor
    /// cancelled
    #[arg(long, value_name = "TEXT")]
    error_contains: Option<String>,
    /// Only events older than this one, such as the last of the previous page
    #[arg(long, value_name = "EVENT")]
    before: Option<Uuid>,
    /// Most events to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let mut filter = EventFilter {
            status: self.status.map(Into::into),
            destination: self.destination,
            event_type: self.event_type,
            quote_id: self.quote,
            error_contains: self.error_contains,
            before: self.before,
        };
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
        let events: Vec<EventView> = events.into_iter().filter_map(Listed::read).map(Into::into).collect();
        if self.json {
            return print::json(&events);
        }
        let columns = ["event", "quote", "type", "destination", "status", "attempts", "due", "last error"];
        say!("{}", print::table(columns, events.into_iter().map(row)));
        if unreadable > 0 {
            say!("{unreadable} more events cannot be read; GET /v1/outbox lists their ids");
        }
        Ok(())
    }
}

fn row(event: EventView) -> [String; 8] {
    let error = event.last_error.map(|error| error.chars().take(ERROR_LENGTH_MAX).collect::<String>());
    [
        event.id.to_string(),
        event.quote_id.to_string(),
        event.event_type,
        event.destination,
        event.status,
        event.attempts.to_string(),
        time(event.due_at),
        or_dash(error),
    ]
}
