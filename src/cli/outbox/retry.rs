//! `feebox outbox retry`

use clap::Args;
use uuid::Uuid;

use super::{
    super::{
        operator::Operator,
        print::{self, time},
    },
    bulk::How,
    filter::Filter,
};
use crate::{
    database::Database,
    inspection,
    operator::{self, NewBulk, Which, bulk::Kind},
    quotes::Relay,
};

/// Options of `feebox outbox retry`: events by id, or all that match a filter.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["events", "status"]))]
pub struct Retry {
    /// Ids of events
    #[arg(value_name = "EVENT")]
    events: Vec<Uuid>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Retry {
    pub(super) async fn run(self, db: &Database, relay: Relay) -> anyhow::Result<()> {
        if let [event] = self.events[..] {
            let event = self.operator.acting(async |operator| operator::retry(db, operator, event).await).await?;
            let event = inspection::view(db, event).await?;
            if self.json {
                return print::json(&event);
            }
            say!("event {} is {} and due at {}", event.id, event.status, time(event.due_at));
            return Ok(());
        }
        let which = self.filter.which(self.events);
        let new = NewBulk { kind: Kind::Retry, which, per_second: self.how.per_second.map(Into::into) };
        self.how.carry_out(db, relay, &self.operator, &new, self.json).await
    }
}

impl Filter {
    /// The events `ids`, or, without any, those that match.
    pub(super) fn which(self, ids: Vec<Uuid>) -> Which {
        if ids.is_empty() { Which::Matching(Box::new(self.into())) } else { Which::Ids(ids) }
    }
}
