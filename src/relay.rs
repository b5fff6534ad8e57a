//! What is told to others about a quote: events for Kafka, stored in the transaction of what they tell.

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    database::DatabaseTransaction,
    fees::Fee,
    outbox::{self, EventType, NewEvent},
    quotes::{FEE_CREATED, KAFKA, QUOTE, QUOTE_CANCELLED, QUOTE_REJECTED, QUOTE_SUBMITTED, Quote},
    settings::{QuoteDestination, Settings, Strategy},
};

/// Stores news of quotes, if they are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relay {
    is_wanted: bool,
    is_told_of_submissions: bool,
}

/// Something that others may want to know.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// What happened.
    pub what: What<'a>,
    /// W3C `traceparent` of whoever caused it.
    pub trace_context: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// The quote was stored.
    Submitted(&'a Quote),
    /// The quote has a fee record.
    FeeCreated(&'a Fee),
    /// The fee server refused the quote, for this reason.
    Rejected(Uuid, &'a str),
    /// The quote was taken back, for this reason.
    Cancelled(Uuid, Option<&'a str>),
}

impl Relay {
    /// News are wanted if there are brokers to tell them to.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let submission = &settings.submission;
        let is_told_of_submissions =
            submission.destination == QuoteDestination::Kafka && submission.strategy != Strategy::Outbox;
        Self { is_wanted: settings.kafka.brokers.is_some(), is_told_of_submissions }
    }

    /// Whether a submission is told of by its strategy, without an outbox: then it is not stored as news, too.
    pub(crate) fn is_told_of_submissions(self) -> bool {
        self.is_told_of_submissions
    }

    /// Stores `news`, each behind what was told of its quote before. It is told if and only if `txn` commits.
    ///
    /// Whoever calls this for a quote holds a lock that nobody else who tells of it gets meanwhile: that of the quote, or
    /// of its event for the fee server.
    ///
    /// # Errors
    /// What the database answers; then nothing is stored.
    pub async fn tell(self, txn: &DatabaseTransaction, now: DateTime<Utc>, news: &[News<'_>]) -> Result<(), DbErr> {
        if !self.is_wanted || news.is_empty() {
            return Ok(());
        }
        // A quote that is being submitted has no events yet.
        let known = news.iter().filter(|news| !matches!(news.what, What::Submitted(_)));
        let next = outbox::next_sequences(txn, &KAFKA, known.map(|news| news.what.quote_id())).await?;
        let events = news.iter().map(|news| NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: news.what.quote_id(),
            event_type: news.what.event_type().clone(),
            destination: KAFKA.clone(),
            sequence: next.get(&news.what.quote_id()).copied().unwrap_or(1),
            payload: news.what.payload(now),
            trace_context: news.trace_context.clone(),
        });
        outbox::record(txn, now, events.collect()).await
    }
}

impl What<'_> {
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
