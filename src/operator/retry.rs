//! Retrying one event.

use sea_orm::ActiveEnum;
use serde_json::json;
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction};
use crate::{
    database::{Database, DatabaseTransaction},
    outbox::{self, Event, EventStatus},
    quotes,
};

/// Retries event `id`. A dead event becomes pending with all its attempts before it, and its quote, if it was rejected, is
/// reopened; a pending event becomes due now. Returns the changed event.
///
/// # Errors
/// [`OperatorError::Conflict`] if it is being delivered, or was delivered or cancelled.
pub async fn retry(db: &Database, operator: Operator<'_>, id: Uuid) -> Result<Event, OperatorError> {
    let event = db.transaction(|txn| Box::pin(async move { retry_in(&txn, db, operator, id).await })).await?;
    actions::log(operator, "event.retry", id);
    Ok(event)
}

async fn retry_in(
    txn: &DatabaseTransaction,
    db: &Database,
    operator: Operator<'_>,
    id: Uuid,
) -> Result<Event, OperatorError> {
    let now = db.now(txn).await?;
    let event = outbox::revive_one(txn, id, now).await?.ok_or_else(|| OperatorError::no_event(id))?;
    match event.status {
        EventStatus::Dead | EventStatus::Pending => {}
        EventStatus::Leased => {
            let by = event.leased_by.as_deref().unwrap_or("a worker");
            return Err(OperatorError::Conflict(format!("{by} is delivering the event right now")));
        }
        EventStatus::Delivered => return Err(OperatorError::Conflict("the event was delivered already".into())),
        EventStatus::Cancelled => return Err(OperatorError::Conflict("the event was cancelled".into())),
    }
    quotes::reopen(txn, [&event], now).await?;
    let details = json!({
        "status_before": event.status.to_value(),
        "attempts_before": event.attempts,
        "due_before": event.due_at,
        "event_type": event.event_type,
        "destination": event.destination,
    });
    let action =
        NewAction { action: "event.retry", target: id.to_string(), quote_id: Some(event.aggregate_id), details };
    actions::record(txn, operator, now, vec![action]).await?;
    outbox::get(txn, id).await?.ok_or_else(|| OperatorError::no_event(id))
}
