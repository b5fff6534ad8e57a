//! The news of a quote: events for Kafka, stored in the transaction of the change that they report.

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    FEE_CREATED, Fee, KAFKA, QUOTE, QUOTE_CANCELLED, QUOTE_REJECTED, QUOTE_SUBMITTED, Quote, QuoteDestination,
};
use crate::{
    database::DatabaseTransaction,
    outbox::{self, EventType, NewEvent},
    settings::Settings,
};

/// Stores news of quotes as events for Kafka, if there are brokers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relay {
    is_wanted: bool,
}

/// A change of a quote that others may want to know of.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// The change.
    pub change: Change<'a>,
    /// Whose quote it is; empty if it is nobody's.
    pub partner: &'a str,
    /// W3C `traceparent` of the call that caused it.
    pub trace_context: Option<&'a str>,
}

/// What happened to a quote.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The quote was stored.
    Submitted(&'a Quote),
    /// The quote has a fee record.
    FeeCreated(&'a Fee),
    /// The fee server refused the quote, for this reason.
    Rejected(Uuid, &'a str),
    /// The quote was cancelled, for this reason.
    Cancelled(Uuid, Option<&'a str>),
}

impl Relay {
    /// News are wanted if there are brokers to send them to.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { is_wanted: settings.kafka.brokers.is_some() }
    }

    /// Whether news are stored.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        self.is_wanted
    }

    /// Stores `news` of quotes for `destination`, each after the earlier news of its quote. They are sent if and only if
    /// `txn` commits. Quotes for Kafka have none: their own events go there.
    ///
    /// The caller holds a lock that keeps others from storing news of the same quotes: that of the quote, or of its event
    /// for the fee server.
    ///
    /// # Errors
    /// Any database error; then nothing is stored.
    pub(crate) async fn record(
        self,
        txn: &DatabaseTransaction,
        destination: QuoteDestination,
        now: DateTime<Utc>,
        news: &[News<'_>],
    ) -> Result<(), DbErr> {
        if !self.is_wanted || destination == QuoteDestination::Kafka || news.is_empty() {
            return Ok(());
        }
        // A quote that is being submitted has no events yet.
        let known = news.iter().filter(|news| !matches!(news.change, Change::Submitted(_)));
        let next = outbox::next_sequences(txn, &KAFKA, known.map(|news| news.change.quote_id())).await?;
        let sequence = |news: &News<'_>| next.get(&news.change.quote_id()).copied().unwrap_or(1);
        outbox::record(txn, now, news.iter().map(|news| news.event(sequence(news), now)).collect()).await
    }
}

impl News<'_> {
    /// The event that brings it to Kafka, at this place among those of its quote.
    pub(crate) fn event(&self, sequence: i32, now: DateTime<Utc>) -> NewEvent {
        NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: self.change.quote_id(),
            event_type: self.change.event_type().clone(),
            destination: KAFKA.clone(),
            partner: self.partner.to_owned(),
            sequence,
            payload: self.change.payload(now),
            trace_context: self.trace_context.map(str::to_owned),
        }
    }
}

impl Change<'_> {
    fn quote_id(&self) -> Uuid {
        match self {
            Self::Submitted(quote) => quote.id,
            Self::FeeCreated(fee) => fee.quote_id,
            Self::Rejected(quote_id, _) | Self::Cancelled(quote_id, _) => *quote_id,
        }
    }

    fn event_type(&self) -> &'static EventType {
        match self {
            Self::Submitted(_) => &QUOTE_SUBMITTED,
            Self::FeeCreated(_) => &FEE_CREATED,
            Self::Rejected(..) => &QUOTE_REJECTED,
            Self::Cancelled(..) => &QUOTE_CANCELLED,
        }
    }

    /// What a consumer reads.
    pub(crate) fn payload(&self, now: DateTime<Utc>) -> Value {
        match self {
            Self::Submitted(quote) => json!({
                "quote_id": quote.id,
                "customer_id": quote.customer_id,
                "currency": quote.currency,
                "amount_minor": quote.amount_minor,
                "lines": quote.lines,
                "submitted_at": quote.submitted_at,
            }),
            Self::FeeCreated(fee) => json!({
                "quote_id": fee.quote_id,
                "fee_id": fee.fee_id,
                "currency": fee.currency,
                "amount_minor": fee.amount_minor,
                "rate_bps": fee.rate_bps,
                "calculated_at": fee.calculated_at,
            }),
            Self::Rejected(quote_id, reason) => json!({ "quote_id": quote_id, "reason": reason, "rejected_at": now }),
            Self::Cancelled(quote_id, reason) => json!({ "quote_id": quote_id, "reason": reason, "cancelled_at": now }),
        }
    }
}
