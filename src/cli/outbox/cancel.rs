//! `feebox outbox cancel`

use clap::Args;
use uuid::Uuid;

use super::super::{operator::Operator, print};
use crate::{database::Database, operator, outbox::EventView};

/// Which event.
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
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let event = self.operator.acting(async |operator| operator::cancel(db, operator, self.event).await).await?;
        let event = EventView::from(event);
        if self.json {
            return print::json(&event);
        }
        match event.status.as_str() {
            "leased" => println!("event {} is being delivered; no attempt follows the running one", event.id),
            status => println!("event {} is {status}", event.id),
        }
        Ok(())
    }
}
