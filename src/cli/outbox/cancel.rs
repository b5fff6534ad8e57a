//! `feebox outbox cancel`

use clap::Args;
use uuid::Uuid;

use super::super::{operator::Operator, print};
use crate::{database::Database, inspection::EventView, operator, quotes::Relay};

/// Options of `feebox outbox cancel`.
#[derive(Args, Debug)]
pub struct Cancel {
    /// The event's id
    event: Uuid,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Cancel {
    pub(super) async fn run(self, db: &Database, relay: Relay) -> anyhow::Result<()> {
        let cancel = async |operator: operator::Operator<'_>| operator::cancel(db, relay, operator, self.event).await;
        let event = self.operator.acting(cancel).await?;
        let event = EventView::from(event);
        if self.json {
            return print::json(&event);
        }
        match event.status.as_str() {
            "leased" => say!("event {} is being delivered; no further attempt follows", event.id),
            status => say!("event {} is {status}", event.id),
        }
        Ok(())
    }
}
