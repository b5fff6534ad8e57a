//! The listener that makes the outbox an outbox: it stores the events of submitted quotes before the commit.

use async_trait::async_trait;
use serde_json::json;

use super::{Listener, ListenerError, Submitted};
use crate::{
    database::DatabaseTransaction,
    outbox::{NewEvent, record},
    quotes::{FEE_SERVER, QUOTE, QUOTE_SUBMITTED, Quote},
};

/// Records an event for the fee server for each submitted quote that goes there. Those for Kafka are told of by the relay,
/// as all are where there are brokers: that event is theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxRecorder;

#[async_trait]
impl Listener for OutboxRecorder {
    async fn before_commit(&self, txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        let for_fee_server = submitted.quotes.iter().filter(|quote| quote.destination == FEE_SERVER);
        let events = for_fee_server.map(|quote| NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: quote.id,
            event_type: QUOTE_SUBMITTED.clone(),
            destination: FEE_SERVER.clone(),
            sequence: 1,
            payload: fee_request(quote),
            trace_context: submitted.trace_context.clone(),
        });
        Ok(record(txn, submitted.at, events.collect()).await?)
    }
}

/// What the fee server gets to see of a quote.
#[must_use]
pub fn fee_request(quote: &Quote) -> serde_json::Value {
    json!({
        "quote_id": quote.id,
        "customer_id": quote.customer_id,
        "currency": quote.currency,
        "amount_minor": quote.amount_minor,
        "submitted_at": quote.submitted_at,
    })
}
