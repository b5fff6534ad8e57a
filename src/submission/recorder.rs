//! The handover of the outbox: the events of submitted quotes, stored before the commit.

use async_trait::async_trait;
use serde_json::json;

use super::{Handover, ListenerError, Submitted};
use crate::{
    database::DatabaseTransaction,
    outbox::{NewEvent, record},
    quotes::{Change, FEE_SERVER, News, QUOTE, QUOTE_SUBMITTED, Quote, QuoteDestination, Relay, partner},
    settings::Settings,
};

/// Records for each submitted quote the event that hands it to its destination, and news of it if they are wanted. Where
/// Kafka is the destination, both are the same event.
#[derive(Clone, Copy, Debug)]
pub struct OutboxRecorder {
    destination: QuoteDestination,
    relay: Relay,
}

impl OutboxRecorder {
    /// For quotes that `destination` has to accept; `relay` stores news of them.
    #[must_use]
    pub fn new(destination: QuoteDestination, relay: Relay) -> Self {
        Self { destination, relay }
    }

    /// As the settings say.
    #[must_use]
    pub fn configured(settings: &Settings) -> Self {
        Self::new(settings.submission.destination, Relay::new(settings))
    }
}

impl Default for OutboxRecorder {
    /// For the fee server, without news.
    fn default() -> Self {
        Self::new(QuoteDestination::FeeServer, Relay::default())
    }
}

#[async_trait]
impl Handover for OutboxRecorder {
    fn destination(&self) -> QuoteDestination {
        self.destination
    }

    fn relay(&self) -> Relay {
        self.relay
    }

    fn shares_transactions(&self) -> bool {
        true
    }

    /// One statement for the events of all quotes.
    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError> {
        let Some(Submitted { at, .. }) = submissions.first() else { return Ok(()) };
        let is_relayed = self.destination == QuoteDestination::Kafka || self.relay.is_wanted();
        let mut events = Vec::new();
        for Submitted { quotes, trace_context, .. } in submissions {
            let trace_context = trace_context.as_deref();
            for quote in quotes {
                if self.destination == QuoteDestination::FeeServer {
                    events.push(fee_event(quote, trace_context));
                }
                if is_relayed {
                    events.push(news(quote, trace_context).event(1, *at));
                }
            }
        }
        Ok(record(txn, *at, events).await?)
    }

    /// The event is stored, and a worker finds it.
    async fn after_commit(&self, _submitted: &Submitted) {}
}

fn news<'a>(quote: &'a Quote, trace_context: Option<&'a str>) -> News<'a> {
    News { change: Change::Submitted(quote), partner: partner(quote), trace_context }
}

fn fee_event(quote: &Quote, trace_context: Option<&str>) -> NewEvent {
    NewEvent {
        aggregate_type: QUOTE,
        aggregate_id: quote.id,
        event_type: QUOTE_SUBMITTED.clone(),
        destination: FEE_SERVER.clone(),
        partner: partner(quote).to_owned(),
        sequence: 1,
        payload: fee_request(quote),
        trace_context: trace_context.map(str::to_owned),
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
