//! Retrying many events, in bounded transactions and at a rate that the destination can take.

use std::{num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction};
use crate::{
    clock::{WAIT_MAX, after},
    database::Database,
    outbox::{self, Event, RetryFilter, Revivable},
    quotes,
};

/// Events a transaction: locks are held for milliseconds.
const BATCH_SIZE: u64 = 500;

/// A bulk retry.
#[derive(Clone, Debug)]
pub struct BulkRetry {
    /// Which events.
    pub filter: RetryFilter,
    /// Only count them.
    pub dry_run: bool,
    /// How many become due a second; all at once without it.
    pub per_second: Option<NonZeroU32>,
}

/// The result of a bulk retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct BulkRetried {
    /// Events that the filter selected.
    pub matched: u64,
    /// Events that were revived or are due earlier than before.
    pub revived: u64,
}

/// Retries all events that the filter selects, oldest first; see [`retry`](super::retry()) for what happens to each.
///
/// Each batch is a transaction of its own. After an interruption finished batches stay done, and the same call goes on with
/// the rest. Events that become dead meanwhile may or may not be included.
///
/// # Errors
/// Any database error; earlier batches stay done.
pub async fn retry_bulk(db: &Database, operator: Operator<'_>, bulk: &BulkRetry) -> Result<BulkRetried, OperatorError> {
    let begun = db.now(db.connection()).await?;
    if bulk.dry_run {
        let matched = outbox::revivable(db.connection(), &bulk.filter, begun).await?;
        return Ok(BulkRetried { matched, revived: 0 });
    }
    let bulk_id = Uuid::now_v7();
    let (mut done, mut last_id) = (0, Uuid::nil());
    loop {
        let events = db.transaction(|txn| {
            Box::pin(async move {
                let now = db.now(&*txn).await?;
                let due_at = |n| bulk.due_at(begun, now, done + n);
                let events = outbox::revive(&txn, &bulk.filter, last_id, BATCH_SIZE, now, due_at).await?;
                if !events.is_empty() {
                    quotes::reopen(&txn, &events, now).await?;
                    actions::record(&txn, operator, now, bulk.actions(bulk_id, &events)).await?;
                }
                Ok::<_, OperatorError>(events)
            })
        });
        let events = events.await?;
        let Some(last) = events.last() else { break };
        last_id = last.id;
        done += events.len();
    }
    let done = done as u64;
    Ok(BulkRetried { matched: done, revived: done })
}

impl BulkRetry {
    /// When the `n`-th event, from 0, is due: at most [`WAIT_MAX`] from the beginning.
    fn due_at(&self, begun: DateTime<Utc>, now: DateTime<Utc>, n: usize) -> DateTime<Utc> {
        match self.per_second {
            None => now,
            Some(per_second) => after(begun, (Duration::from_secs(n as u64) / per_second.get()).min(WAIT_MAX)),
        }
    }

    /// One action for the batch, and one for the timeline of each of its quotes.
    fn actions(&self, bulk_id: Uuid, events: &[Event]) -> Vec<NewAction> {
        let target = self.filter.destination.clone().unwrap_or_else(|| "every destination".into());
        let batch =
            NewAction { action: "outbox.retry", target, quote_id: None, details: self.details(bulk_id, events) };
        let each = events.iter().map(|event| NewAction {
            action: actions::REVIVE,
            target: event.id.to_string(),
            quote_id: Some(event.aggregate_id),
            details: json!({ "bulk_id": bulk_id, "attempts_before": event.attempts }),
        });
        std::iter::once(batch).chain(each).collect()
    }

    fn details(&self, bulk_id: Uuid, events: &[Event]) -> Value {
        let RetryFilter { status, destination, event_type, error_contains } = &self.filter;
        let status = match status {
            Revivable::Dead => "dead",
            Revivable::Pending => "pending",
        };
        json!({
            "bulk_id": bulk_id,
            "revived": events.len(),
            "status": status,
            "destination": destination,
            "event_type": event_type,
            "error_contains": error_contains,
            "per_second": self.per_second,
        })
    }
}
