//! `feebox outbox retry`

use std::num::NonZeroU32;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::super::{
    operator::Operator,
    print::{self, time},
};
use crate::{
    database::Database,
    inspection::EventView,
    operator::{self, BulkRetry},
    outbox::{RetryFilter, Revivable},
};

/// Options of `feebox outbox retry`: one event, or all that match a filter.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["event", "status"]))]
pub struct Retry {
    /// The event's id
    event: Option<Uuid>,
    /// All events with this status
    #[arg(long)]
    status: Option<Status>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which events to retry, and how.
#[derive(Args, Debug)]
struct Filter {
    /// Only events for this destination
    #[arg(long, value_name = "NAME", requires = "status")]
    destination: Option<String>,
    /// Only events of this type, for example quote.cancelled
    #[arg(long, value_name = "TYPE", requires = "status")]
    event_type: Option<String>,
    /// Only events whose last error contains this text, ignoring case
    #[arg(long, value_name = "TEXT", requires = "status")]
    error_contains: Option<String>,
    /// Only count the events that match
    #[arg(long, requires = "status")]
    dry_run: bool,
    /// Spread the retries: at most this many events become due per second
    #[arg(long, value_name = "NUMBER", requires = "status")]
    per_second: Option<NonZeroU32>,
}

/// The statuses that can be retried.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    /// Events that failed for good
    Dead,
    /// Events that are due later
    Pending,
}

impl Retry {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        if let Some(event) = self.event {
            let event = self.operator.acting(async |operator| operator::retry(db, operator, event).await).await?;
            let event = EventView::from(event);
            if self.json {
                return print::json(&event);
            }
            say!("event {} is {} and due at {}", event.id, event.status, time(event.due_at));
            return Ok(());
        }
        let bulk = self.filter.bulk(self.status.unwrap_or(Status::Dead));
        let retried = self.operator.acting(async |operator| operator::retry_bulk(db, operator, &bulk).await).await?;
        if self.json {
            return print::json(&retried);
        }
        say!("{} events matched, {} revived", retried.matched, retried.revived);
        Ok(())
    }
}

impl Filter {
    fn bulk(self, status: Status) -> BulkRetry {
        let status = match status {
            Status::Dead => Revivable::Dead,
            Status::Pending => Revivable::Pending,
        };
        let Self { destination, event_type, error_contains, dry_run, per_second } = self;
        BulkRetry { filter: RetryFilter { status, destination, event_type, error_contains }, dry_run, per_second }
    }
}
