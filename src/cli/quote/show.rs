//! `feebox quote show`

use clap::Args;
use sea_orm::ActiveEnum;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::print::{self, or_dash, time};
use crate::{
    database::Database,
    inspection::{self, EventView},
    outbox,
    quotes::{self, CancelError, QuoteWithFee},
};

/// Options of `feebox quote show`.
#[derive(Args, Debug)]
pub struct Show {
    /// The quote's id
    quote: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let found = quotes::get(db.connection(), self.quote).await?.ok_or(CancelError::NotFound)?;
        let events = outbox::of_aggregate(db.connection(), self.quote).await?;
        let events = inspection::views(db, events).await?;
        if self.json {
            let mut document = document(&found);
            document["events"] = json!(events);
            return print::json(&document);
        }
        let QuoteWithFee { quote, fee, .. } = &found;
        let fee = fee.as_ref().map(|fee| format!("{} {} ({})", fee.amount_minor, fee.currency, fee.fee_id));
        let facts = [
            ("quote", quote.id.to_string()),
            ("customer", quote.customer_id.clone()),
            ("amount", format!("{} {}", quote.amount_minor, quote.currency)),
            ("status", quote.status.to_value()),
            ("why", or_dash(quote.status_reason.as_ref())),
            ("submitted", time(quote.submitted_at)),
            ("fee", or_dash(fee)),
        ];
        say!("{}", print::table(["", ""], facts.map(|(name, value)| [name.to_owned(), value])));
        say!("{}", print::table(["event", "status", "why"], events.into_iter().map(event)));
        Ok(())
    }
}

fn event(event: EventView) -> [String; 3] {
    [event.id.to_string(), event.status, format!("{} to {}: {}", event.event_type, event.destination, event.why)]
}

/// The quote as the API shows it.
pub(super) fn document(QuoteWithFee { quote, fee, .. }: &QuoteWithFee) -> Value {
    let fee = fee.as_ref().map(|fee| {
        json!({
            "fee_id": fee.fee_id,
            "amount_minor": fee.amount_minor,
            "currency": fee.currency,
            "rate_bps": fee.rate_bps,
            "calculated_at": fee.calculated_at,
        })
    });
    json!({
        "id": quote.id,
        "customer_id": quote.customer_id,
        "currency": quote.currency,
        "amount_minor": quote.amount_minor,
        "lines": quote.lines,
        "status": quote.status.to_value(),
        "status_reason": quote.status_reason,
        "submitted_at": quote.submitted_at,
        "fee": fee,
    })
}
