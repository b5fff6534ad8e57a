//! Taking a quote back.

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde_json::json;
use uuid::Uuid;

use super::Submission;
use crate::{
    database::{DatabaseFailure, DatabaseTransaction},
    outbox::{DestinationName, NewEvent, record, withdraw},
    quotes::{self, QUOTE, QUOTE_CANCELLED, Quote, Status},
    relay::{News, Relay, What},
    settings::QuoteDestination,
};

/// Why a quote was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is no such quote.
    #[error("there is no such quote")]
    NotFound,
    /// Its destination refused it for good: there is nothing to take back.
    #[error("the quote was rejected; there is nothing to cancel")]
    Rejected,
    /// It was cancelled before. To be rolled back as any error: what this transaction withdrew may be the event that
    /// voids the fee.
    #[error("the quote was cancelled before")]
    Before(Box<Quote>),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl DatabaseFailure for CancelError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) => Some(error),
            Self::NotFound | Self::Rejected | Self::Before(_) => None,
        }
    }
}

impl Submission {
    /// Cancels quote `id`, in one transaction: its undelivered events are withdrawn, and if a fee exists or may exist, an
    /// event that voids it is stored behind them; the same for a quote that Kafka was or may have been told of. Cancelling
    /// twice is one cancellation.
    ///
    /// A delivery in flight ends in one of two sound states: it settles first, and the fee record that it stored is voided
    /// at the fee server; or the cancellation commits first, and whatever the delivery brings, the void follows it.
    ///
    /// # Errors
    /// See [`CancelError`]; nothing is changed.
    pub async fn cancel(
        &self,
        id: Uuid,
        reason: Option<&str>,
        trace_context: Option<String>,
    ) -> Result<Quote, CancelError> {
        let trace_context = &trace_context;
        let cancelled = self.db.transaction(|txn| {
            Box::pin(async move {
                let now = self.db.now(&*txn).await?;
                let from = [Status::Pending, Status::Confirmed];
                cancel(&txn, self.relay, id, &from, reason, trace_context.clone(), now).await
            })
        });
        match cancelled.await {
            Ok(quote) => {
                self.after_cancellation(&quote).await;
                Ok(quote)
            }
            Err(CancelError::Before(quote)) => Ok(*quote),
            Err(error) => Err(error),
        }
    }

    /// Tells the listeners of a cancellation that was committed.
    pub(crate) async fn after_cancellation(&self, quote: &Quote) {
        for listener in &self.listeners {
            listener.after_cancellation(quote).await;
        }
    }
}

/// Cancels quote `id` inside `txn` if it stands in one of `from`, and has others told; see [`Submission::cancel`].
///
/// # Errors
/// See [`CancelError`]; drop the transaction, and with it what was withdrawn.
pub async fn cancel(
    txn: &DatabaseTransaction,
    relay: Relay,
    id: Uuid,
    from: &[Status],
    reason: Option<&str>,
    trace_context: Option<String>,
    now: DateTime<Utc>,
) -> Result<Quote, CancelError> {
    let destination = quotes::destination(txn, id).await?.ok_or(CancelError::NotFound)?;
    // Events before the quote, in the order in which settling takes its locks.
    let withdrawn = withdraw(txn, id, destination.name(), now).await?;
    let moved = quotes::advance(txn, [id], from, Status::Cancelled, reason, now).await?;
    let found = quotes::get(txn, id).await?.ok_or(CancelError::NotFound)?;
    if moved == 0 {
        let before = found.quote.status == Status::Cancelled;
        return Err(if before { CancelError::Before(Box::new(found.quote)) } else { CancelError::Rejected });
    }
    let cancellation = Cancellation { id, reason, trace_context };
    if withdrawn.may_have_reached || found.fee.is_some() {
        cancellation.record(txn, destination.name(), withdrawn.next_sequence, now).await?;
    }
    if destination == QuoteDestination::FeeServer {
        relay.tell(txn, now, &[cancellation.into()]).await?;
    }
    Ok(found.quote)
}

/// Has what the destination of the cancelled quote `id` did with it taken back, behind all that was recorded of it: for
/// an answer that came late.
///
/// # Errors
/// What the database answers.
pub async fn void(
    txn: &DatabaseTransaction,
    destination: &DestinationName,
    id: Uuid,
    trace_context: Option<String>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    // An event of the kind that still waits is replaced by this one.
    let withdrawn = withdraw(txn, id, destination, now).await?;
    let reason = Some("it was cancelled before it arrived");
    Cancellation { id, reason, trace_context }.record(txn, destination, withdrawn.next_sequence, now).await
}

/// What is told of a cancelled quote.
struct Cancellation<'a> {
    id: Uuid,
    reason: Option<&'a str>,
    trace_context: Option<String>,
}

impl Cancellation<'_> {
    /// Stores it for the quote's own destination. To the fee server it says: void the fee.
    async fn record(
        &self,
        txn: &DatabaseTransaction,
        destination: &DestinationName,
        sequence: i32,
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let payload = match QuoteDestination::of(destination) {
            Some(QuoteDestination::Kafka) => What::Cancelled(self.id, self.reason).payload(now),
            _ => json!({ "quote_id": self.id }),
        };
        let event = NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: self.id,
            event_type: QUOTE_CANCELLED.clone(),
            destination: destination.clone(),
            sequence,
            payload,
            trace_context: self.trace_context.clone(),
        };
        record(txn, now, vec![event]).await
    }
}

impl<'a> From<Cancellation<'a>> for News<'a> {
    fn from(it: Cancellation<'a>) -> Self {
        Self { what: What::Cancelled(it.id, it.reason), trace_context: it.trace_context }
    }
}
