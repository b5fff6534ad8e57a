//! Storing events, inside the transaction of what they are about.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::outbox_event::{self, Column, Status};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{DestinationName, EventType};
use crate::{
    clock::ids,
    database::{self, DatabaseTransaction, padded},
};

/// An event to store.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What kind of thing it is about, for example `quote`: at most 32 characters.
    pub aggregate_type: &'static str,
    /// The thing that it is about, for example the quote's id.
    pub aggregate_id: Uuid,
    /// What it is about.
    pub event_type: EventType,
    /// Where it goes.
    pub destination: DestinationName,
    /// From 1: its place among the events of its aggregate for this destination. [`super::Withdrawn`] and
    /// [`next_sequences`] return the next place.
    pub sequence: i32,
    /// What the destination gets.
    pub payload: Value,
    /// W3C `traceparent` of the request that caused it.
    pub trace_context: Option<String>,
}

/// Rows per statement: below the limits of 32,766 parameters on `SQLite` and 65,535 on the others.
const ROWS_MAX: usize = 1_000;

/// Stores `events`, due at once. They exist if and only if `txn` commits.
///
/// # Errors
/// Any database error. A `sequence` that is already taken is a unique violation. Nothing is stored then.
pub async fn record(txn: &DatabaseTransaction, now: DateTime<Utc>, events: Vec<NewEvent>) -> Result<(), DbErr> {
    let mut ids = ids(now);
    for some in database::runs(events, ROWS_MAX, txn.statement_bytes(), bytes) {
        let rows = some.into_iter().map(|event| row(event, ids(), now));
        outbox_event::Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

/// The next `sequence` of each of `aggregate_ids` for `destination`. Those without events are left out: theirs is 1. The caller
/// holds a lock that keeps others from recording events of the same aggregates meanwhile.
///
/// # Errors
/// Any database error.
pub async fn next_sequences(
    txn: &DatabaseTransaction,
    destination: &DestinationName,
    aggregate_ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i32>, DbErr> {
    let aggregate_ids = padded(aggregate_ids);
    if aggregate_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let last: Vec<(Uuid, i32)> = outbox_event::Entity::find()
        .select_only()
        .column(Column::AggregateId)
        .column_as(Column::Sequence.max(), "last")
        .filter(Column::AggregateId.is_in(aggregate_ids))
        .filter(Column::Destination.eq(destination.as_str()))
        .group_by(Column::AggregateId)
        .into_tuple()
        .all(txn)
        .await?;
    Ok(last.into_iter().map(|(aggregate_id, last)| (aggregate_id, last + 1)).collect())
}

/// About how many bytes `event` takes in a statement: its payload, and the bounded rest.
fn bytes(event: &NewEvent) -> usize {
    500 + database::json_bytes(&event.payload)
}

fn row(event: NewEvent, id: Uuid, now: DateTime<Utc>) -> outbox_event::ActiveModel {
    outbox_event::ActiveModel {
        id: Set(id),
        aggregate_type: Set(event.aggregate_type.into()),
        aggregate_id: Set(event.aggregate_id),
        event_type: Set(event.event_type.into()),
        destination: Set(event.destination.into()),
        sequence: Set(event.sequence),
        payload: Set(event.payload),
        trace_context: Set(event.trace_context),
        status: Set(Status::Pending),
        attempts: Set(0),
        live_since: Set(now),
        due_at: Set(now),
        lease_token: Set(None),
        leased_until: Set(None),
        leased_by: Set(None),
        outcome_unknown: Set(false),
        withdrawn: Set(false),
        last_error: Set(None),
        failures: Set(json!([])),
        created_at: Set(now),
        settled_at: Set(None),
        receipt: Set(None),
    }
}
