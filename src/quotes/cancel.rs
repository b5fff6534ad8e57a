//! `pending` or `confirmed` `→ cancelled`.

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, sea_query::Expr};
use serde_json::json;
use uuid::Uuid;

use super::{
    Accepted, Change, FEE_SERVER, News, QUOTE, QUOTE_CANCELLED, Quote, QuoteDestination, Relay, Status, partner, read,
    row::{Column, change},
};
use crate::{
    database::{Database, DatabaseFailure, DatabaseTransaction},
    outbox::{self, NewEvent, withdraw},
};

/// A quote to cancel.
#[derive(Clone, Copy, Debug)]
pub struct Cancellation<'a> {
    /// The quote.
    pub quote_id: Uuid,
    /// In which states it may be.
    pub from: &'a [Status],
    /// Whose quote it must be, if the caller may not cancel those of others.
    pub owner: Option<&'a str>,
    /// Who cancels it: the name of a token, or of the part of Feebox that does. None where no tokens are configured.
    pub by: Option<&'a str>,
    /// Why, in the words of the caller.
    pub reason: Option<&'a str>,
    /// W3C `traceparent` of the call.
    pub trace_context: Option<&'a str>,
    /// Its destination has certainly not accepted it: there is nothing to take back.
    pub never_accepted: bool,
}

/// Why a quote was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is no such quote.
    #[error("there is no such quote")]
    NotFound,
    /// Its destination refused it for good: there is nothing to take back.
    #[error("the quote was rejected; there is nothing to cancel")]
    Rejected,
    /// It was cancelled before. Roll back as for any error: what this transaction withdrew may be the event that voids the
    /// fee.
    #[error("the quote was cancelled before")]
    AlreadyCancelled(Box<Quote>),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl DatabaseFailure for CancelError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) => Some(error),
            Self::NotFound | Self::Rejected | Self::AlreadyCancelled(_) => None,
        }
    }
}

impl<'a> Cancellation<'a> {
    /// The cancellation of a pending or confirmed quote.
    #[must_use]
    pub fn of(quote_id: Uuid, reason: Option<&'a str>, trace_context: Option<&'a str>) -> Self {
        let from = &[Status::Pending, Status::Confirmed];
        Self { quote_id, from, owner: None, by: None, reason, trace_context, never_accepted: false }
    }

    /// The same by `name`.
    #[must_use]
    pub fn by(self, name: &'a str) -> Self {
        Self { by: Some(name), ..self }
    }
}

/// Cancels a quote: its undelivered events are withdrawn, and if its destination accepted it or may have, an event that takes
/// that back is stored after them: a void for the fee server, a `quote.cancelled` for Kafka. News of it are stored.
///
/// A delivery in flight ends in one of two sound states: it settles first, and the fee record that it stored is voided
/// at the fee server; or the cancellation commits first, and whatever the delivery brings, the void follows it.
///
/// # Errors
/// See [`CancelError`]; roll the transaction back, and with it what was withdrawn.
pub async fn cancel(
    txn: &DatabaseTransaction,
    relay: Relay,
    cancellation: Cancellation<'_>,
    now: DateTime<Utc>,
) -> Result<Quote, CancelError> {
    let Cancellation { quote_id: id, from, owner, by, reason, trace_context, never_accepted } = cancellation;
    let destination = read::destination(txn, id, owner).await?.ok_or(CancelError::NotFound)?;
    // Events before the quote, in the order in which settling takes its locks.
    let withdrawn = withdraw(txn, id, destination.name(), now).await?;
    let cancelled = change([id], from, Status::Cancelled, reason, now).col_expr(Column::CancelledBy, Expr::val(by));
    let cancelled = cancelled.exec(txn).await?.rows_affected;
    let found = read::get(txn, id).await?.ok_or(CancelError::NotFound)?;
    if cancelled == 0 {
        let before = found.quote.status == Status::Cancelled;
        return Err(if before { CancelError::AlreadyCancelled(Box::new(found.quote)) } else { CancelError::Rejected });
    }
    let news = News { change: Change::Cancelled(id, reason), partner: partner(&found.quote), trace_context };
    if !never_accepted && (withdrawn.may_have_reached || found.fee.is_some()) {
        take_back(txn, destination, id, news, withdrawn.next_sequence, now).await?;
    }
    relay.record(txn, destination, now, &[news]).await?;
    Ok(found.quote)
}

/// Cancels a quote in a transaction of its own if it is pending; returns whether it was.
///
/// # Errors
/// Any database error; nothing is changed.
pub async fn cancel_pending(db: &Database, relay: Relay, cancellation: Cancellation<'_>) -> Result<bool, DbErr> {
    let cancellation = Cancellation { from: &[Status::Pending], ..cancellation };
    let cancelled = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            cancel(&txn, relay, cancellation, now).await
        })
    });
    match cancelled.await {
        Ok(_) => Ok(true),
        Err(CancelError::AlreadyCancelled(_) | CancelError::NotFound | CancelError::Rejected) => Ok(false),
        Err(CancelError::Database(error)) => Err(error),
    }
}

/// Takes back what the destination did with a cancelled quote, after all its other events: for an answer that came
/// late.
pub(super) async fn void(
    txn: &DatabaseTransaction,
    destination: QuoteDestination,
    accepted: &Accepted<'_>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let Accepted { quote_id: id, partner, trace_context, .. } = *accepted;
    // An event of the kind that still waits is replaced by this one.
    let withdrawn = withdraw(txn, id, destination.name(), now).await?;
    let change = Change::Cancelled(id, Some("it was cancelled before it arrived"));
    take_back(txn, destination, id, News { change, partner, trace_context }, withdrawn.next_sequence, now).await
}

/// Stores the event for the quote's own destination.
async fn take_back(
    txn: &DatabaseTransaction,
    destination: QuoteDestination,
    quote_id: Uuid,
    news: News<'_>,
    sequence: i32,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    outbox::record(txn, now, vec![taking_back(destination, quote_id, news, sequence, now)]).await
}

/// The event that takes back what the quote's own destination did. To the fee server it says: void the fee.
pub(super) fn taking_back(
    destination: QuoteDestination,
    quote_id: Uuid,
    news: News<'_>,
    sequence: i32,
    now: DateTime<Utc>,
) -> NewEvent {
    match destination {
        QuoteDestination::Kafka => news.event(sequence, now),
        QuoteDestination::FeeServer => NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: quote_id,
            event_type: QUOTE_CANCELLED.clone(),
            destination: FEE_SERVER.clone(),
            partner: news.partner.to_owned(),
            sequence,
            payload: json!({ "quote_id": quote_id }),
            trace_context: news.trace_context.map(str::to_owned),
        },
    }
}
