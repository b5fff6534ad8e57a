//! `pending → confirmed`: the quote's destination has accepted it.

use std::slice;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QueryTrait, UpdateMany};
use uuid::Uuid;

use super::{
    Change, Fee, News, QuoteDestination, Relay, Status,
    cancel::void,
    fee_record, read,
    row::{Column, Entity, change},
};
use crate::database::DatabaseTransaction;

/// A quote that its destination accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// The quote.
    pub quote_id: Uuid,
    /// The idempotency key of the delivery: the event's id.
    pub key: Uuid,
    /// The fee that the destination made, if it makes fees.
    pub fee: Option<&'a Fee>,
    /// Whose quote it is; empty if it is nobody's.
    pub partner: &'a str,
    /// W3C `traceparent` of the submission.
    pub trace_context: Option<&'a str>,
}

/// The result of [`confirm_call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallConfirmation {
    /// The quote is confirmed.
    Confirmed,
    /// The quote was cancelled before: an event that takes back what the destination did is stored.
    Voided,
    /// There is no such pending quote: its transaction was rolled back, or is not committed yet. Nothing is stored.
    NotPending,
}

/// Confirms those of `accepted` that are pending and are for `destination`; stores the fees of all, and the news of them.
///
/// The fee of a quote that was cancelled during its delivery is stored, too: its cancellation has stored the event that
/// voids it.
///
/// # Errors
/// Any database error; a fee that cannot be stored, see [`Fee::unstorable`].
pub async fn confirm(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    accepted: &[Accepted<'_>],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if !accepted.is_empty() {
        txn.execute_later(pending_to_confirmed(destination, accepted, now).build(txn.get_database_backend())).await?;
    }
    store_fees(txn, relay, destination, accepted, now).await
}

/// The same for one quote that was handed over by a call without an event: nothing but the call knows of a cancellation that
/// came first, so that this stores the event that voids the fee.
///
/// # Errors
/// As [`confirm`].
pub async fn confirm_call(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    accepted: Accepted<'_>,
    now: DateTime<Utc>,
) -> Result<CallConfirmation, DbErr> {
    let (id, accepted) = (accepted.quote_id, slice::from_ref(&accepted));
    let mut confirmation = CallConfirmation::Confirmed;
    if pending_to_confirmed(destination, accepted, now).exec(txn).await?.rows_affected == 0 {
        if read::status(txn, id, None).await? != Some(Status::Cancelled) {
            return Ok(CallConfirmation::NotPending);
        }
        void(txn, destination, &accepted[0], now).await?;
        confirmation = CallConfirmation::Voided;
    }
    store_fees(txn, relay, destination, accepted, now).await?;
    Ok(confirmation)
}

fn pending_to_confirmed(
    destination: QuoteDestination,
    accepted: &[Accepted<'_>],
    now: DateTime<Utc>,
) -> UpdateMany<Entity> {
    let ids = accepted.iter().map(|accepted| accepted.quote_id);
    let confirmed = change(ids, &[Status::Pending], Status::Confirmed, None, now);
    // To a quote for another destination the delivery was news, and nothing more.
    confirmed.filter(Column::Destination.eq(destination.name().as_str()))
}

async fn store_fees(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    accepted: &[Accepted<'_>],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let fees = accepted.iter().filter_map(|accepted| Some((accepted.key, accepted.fee?)));
    fee_record::store(txn, fees, now).await?;
    let news = accepted.iter().filter_map(|accepted| {
        let Accepted { partner, trace_context, .. } = *accepted;
        Some(News { change: Change::FeeCreated(accepted.fee?), partner, trace_context })
    });
    relay.record(txn, destination, now, &news.collect::<Vec<_>>()).await
}
