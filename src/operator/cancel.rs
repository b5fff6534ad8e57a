//! Giving an event up.

use sea_orm::ActiveEnum;
use serde_json::json;
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction, hands_over};
use crate::{
    database::{Database, DatabaseTransaction},
    outbox::{self, Event, EventStatus},
    quotes::{self, Status},
    relay::Relay,
    submission::{self, CancelError},
};

/// Gives event `id` up. One that would have handed a quote to its destination gives up the quote, even a rejected one: a
/// quote with neither a fee nor an event to get it would be lost. Its fee, should one exist, is voided as after any
/// cancellation. Of an event that is being delivered the running attempt is the last. Answers the event as it is then.
///
/// # Errors
/// [`OperatorError::Conflict`] if it was delivered or given up before.
pub async fn cancel(db: &Database, relay: Relay, operator: Operator<'_>, id: Uuid) -> Result<Event, OperatorError> {
    db.transaction(|txn| Box::pin(async move { cancel_in(&txn, db, relay, operator, id).await })).await
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
            let why = "the event was delivered already; cancel its quote to take back what it did";
            return Err(OperatorError::Conflict(why.into()));
        }
        EventStatus::Cancelled => return Err(given_up_before()),
    }
    let of_quote = quotes::destination(txn, event.aggregate_id).await?;
    if hands_over(&event) && of_quote.is_some_and(|destination| event.destination == *destination.name()) {
        let why = operator.reason.map_or_else(|| format!("given up by {}", operator.name), str::to_owned);
        let from = [Status::Pending, Status::Confirmed, Status::Rejected];
        match submission::cancel(txn, relay, event.aggregate_id, &from, Some(&why), None, now).await {
            Ok(_) => {}
            Err(CancelError::Before(_)) => return Err(given_up_before()),
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
    let action =
        NewAction { action: "event.cancel", target: id.to_string(), quote_id: Some(event.aggregate_id), details };
    actions::record(txn, operator, now, vec![action]).await?;
    outbox::get(txn, id).await?.ok_or_else(|| OperatorError::no_event(id))
}

fn given_up_before() -> OperatorError {
    OperatorError::Conflict("the event was given up before".into())
}
