//! Retrying one event.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, DbErr};
use serde_json::json;
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction, hands_over};
use crate::{
    database::{Database, DatabaseTransaction},
    outbox::{self, Event, EventStatus},
    quotes::{self, DESTINATIONS, Status},
};

/// Retries event `id`: a dead one comes back to life with all its attempts before it, and its quote, if it was rejected,
/// is pending again; a pending one is due now. Answers the event as it is then.
///
/// # Errors
/// [`OperatorError::Conflict`] if it is being delivered, or was delivered or given up.
pub async fn retry(db: &Database, operator: Operator<'_>, id: Uuid) -> Result<Event, OperatorError> {
    db.transaction(|txn| Box::pin(async move { retry_in(&txn, db, operator, id).await })).await
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
        EventStatus::Cancelled => return Err(OperatorError::Conflict("the event was given up for good".into())),
    }
    bring_back(txn, [&event], now).await?;
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

/// The quotes that their destination had refused are pending again, as their events are.
pub(super) async fn bring_back(
    txn: &DatabaseTransaction,
    revived: impl IntoIterator<Item = &Event>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let revived: Vec<_> = revived.into_iter().filter(|event| hands_over(event)).collect();
    for destination in DESTINATIONS {
        let those = revived.iter().filter(|event| event.destination == *destination);
        let quotes: Vec<_> = those.map(|event| event.aggregate_id).collect();
        if !quotes.is_empty() {
            let (from, to) = (Status::Rejected, Status::Pending);
            quotes::advance_those_for(txn, destination, quotes, from, to, None, now).await?;
        }
    }
    Ok(())
}
