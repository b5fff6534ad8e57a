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

/// One event, or all that a filter selects.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["event", "status"]))]
pub struct Retry {
    /// The event's id
    event: Option<Uuid>,
    /// All of these
    #[arg(long)]
    status: Option<Status>,
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which of them, and how.
#[derive(Args, Debug)]
struct Only {
    /// Only those for this destination
    #[arg(long, value_name = "NAME", requires = "status")]
    destination: Option<String>,
    /// Only these, for example quote.cancelled
    #[arg(long, value_name = "TYPE", requires = "status")]
    event_type: Option<String>,
    /// Only those whose last error contains this, whatever the case of its letters
    #[arg(long, value_name = "TEXT", requires = "status")]
    error_contains: Option<String>,
    /// Count them and change nothing
    #[arg(long, requires = "status")]
    dry_run: bool,
    /// Spread them out: so many become due a second
    #[arg(long, value_name = "NUMBER", requires = "status")]
    per_second: Option<NonZeroU32>,
}

/// What can be retried.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    /// Given up by policy
    Dead,
    /// Due later
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
        let bulk = self.only.bulk(self.status.unwrap_or(Status::Dead));
        let retried = self.operator.acting(async |operator| operator::retry_bulk(db, operator, &bulk).await).await?;
        if self.json {
            return print::json(&retried);
        }
        say!("{} events matched, {} revived", retried.matched, retried.revived);
        Ok(())
    }
}

impl Only {
    fn bulk(self, status: Status) -> BulkRetry {
        let status = match status {
            Status::Dead => Revivable::Dead,
            Status::Pending => Revivable::Pending,
        };
        let Self { destination, event_type, error_contains, dry_run, per_second } = self;
        BulkRetry { filter: RetryFilter { status, destination, event_type, error_contains }, dry_run, per_second }
    }
}
