//! Cancelling an event.

use sea_orm::ActiveEnum;
use serde_json::json;
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction};
use crate::{
    database::{Database, DatabaseTransaction},
    outbox::{self, Event, EventStatus},
    quotes::{self, CancelError, Cancellation, Relay, Status, is_handover},
};

/// Cancels event `id`. If the event hands a quote over, the quote is cancelled, too, even a rejected one: a quote with neither
/// a fee nor an event that brings it would be lost. Its fee, if there is one, is voided as after any cancellation. If the event
/// is being delivered, the running attempt is its last. Returns the changed event.
///
/// # Errors
/// [`OperatorError::Conflict`] if it was delivered or cancelled before.
pub async fn cancel(db: &Database, relay: Relay, operator: Operator<'_>, id: Uuid) -> Result<Event, OperatorError> {
    let event = db.transaction(|txn| Box::pin(async move { cancel_in(&txn, db, relay, operator, id).await })).await?;
    actions::log(operator, "event.cancel", id);
    Ok(event)
}

async fn cancel_in(
    txn: &DatabaseTransaction,
    db: &Database,
    relay: Relay,
    operator: Operator<'_>,
    id: Uuid,
) -> Result<Event, OperatorError> {
    let now = db.now(txn).await?;
    let event = outbox::give_up(txn, id, now).await?.ok_or_else(|| OperatorError::no_event(id))?;
    match event.status {
        EventStatus::Pending | EventStatus::Leased | EventStatus::Dead => {}
        EventStatus::Delivered => {
            let why = "the event is delivered; to take back what it did, cancel its quote";
            return Err(OperatorError::Conflict(why.into()));
        }
        EventStatus::Cancelled => return Err(cancelled_already()),
    }
    let of_quote = quotes::destination(txn, event.aggregate_id, None).await?;
    if is_handover(&event.event_type) && of_quote.is_some_and(|destination| event.destination == *destination.name()) {
        let why = operator.reason.map_or_else(|| format!("given up by {}", operator.name), str::to_owned);
        let from = &[Status::Pending, Status::Confirmed, Status::Rejected];
        let cancellation =
            Cancellation { from, ..Cancellation::of(event.aggregate_id, Some(&why), None).by(operator.name) };
        match quotes::cancel(txn, relay, cancellation, now).await {
            Ok(_) => {}
            Err(CancelError::AlreadyCancelled(_)) => return Err(cancelled_already()),
            Err(CancelError::Database(error)) => return Err(error.into()),
            Err(error) => return Err(OperatorError::Conflict(error.to_string())),
        }
    }
    let details = json!({
        "status_before": event.status.to_value(),
        "attempts_before": event.attempts,
        "event_type": event.event_type,
        "destination": event.destination,
    });
    let target = id.to_string();
    let action = NewAction { action: "event.cancel", target, quote_id: Some(event.aggregate_id), details };
    actions::record(txn, operator, now, vec![action]).await?;
    outbox::get(txn, id).await?.ok_or_else(|| OperatorError::no_event(id))
}

fn cancelled_already() -> OperatorError {
    OperatorError::Conflict("the event is cancelled already".into())
}
