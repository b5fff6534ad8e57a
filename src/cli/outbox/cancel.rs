//! `feebox outbox cancel`

use clap::Args;
use uuid::Uuid;

use super::{
    super::{operator::Operator, print},
    bulk::How,
    filter::Filter,
};
use crate::{
    database::Database,
    inspection,
    operator::{self, NewBulk, bulk::Kind},
    quotes::Relay,
};

/// Options of `feebox outbox cancel`: events by id, or all that match a filter.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["events", "status"]))]
pub struct Cancel {
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

impl Cancel {
    pub(super) async fn run(self, db: &Database, relay: Relay) -> anyhow::Result<()> {
        if let [event] = self.events[..] {
            let cancel = async |operator: operator::Operator<'_>| operator::cancel(db, relay, operator, event).await;
            let event = self.operator.acting(cancel).await?;
            let event = inspection::view(db, event).await?;
            if self.json {
                return print::json(&event);
            }
            match event.status.as_str() {
                "leased" => say!("event {} is being delivered; no further attempt follows", event.id),
                status => say!("event {} is {status}", event.id),
            }
            return Ok(());
        }
        let which = self.filter.which(self.events);
        let new = NewBulk { kind: Kind::Cancel, which, per_second: self.how.per_second.map(Into::into) };
        self.how.carry_out(db, relay, &self.operator, &new, self.json).await
    }
}
