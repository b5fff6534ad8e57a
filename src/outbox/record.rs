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
    /// The quote's id.
    pub quote_id: Uuid,
    /// What it is about.
    pub event_type: EventType,
    /// Where it goes.
    pub destination: DestinationName,
    /// From 1: its place among the quote's events for this destination. [`super::Withdrawn`] and [`next_sequences`] tell
    /// the next place.
    pub sequence: i32,
    /// What the destination gets.
    pub payload: Value,
    /// W3C `traceparent` of whoever caused it.
    pub trace_context: Option<String>,
}

/// Rows a statement: below the 32,766 parameters that `SQLite` takes, and the 65,535 of the others.
const ROWS_MAX: usize = 1_000;

/// Stores `events`, due at once. They exist if and only if `txn` commits.
///
/// # Errors
/// What the database answers; a place that is taken already is a unique violation, and nothing is stored.
pub async fn record(txn: &DatabaseTransaction, now: DateTime<Utc>, events: Vec<NewEvent>) -> Result<(), DbErr> {
    let mut ids = ids(now);
    for some in database::runs(events, ROWS_MAX, txn.statement_bytes(), bytes) {
        let rows = some.into_iter().map(|event| row(event, ids(), now));
        outbox_event::Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

/// The place behind the events of each of `quote_ids` for `destination`; those that have none are left out, theirs is 1.
/// Whoever calls this keeps others from recording events of the same quotes meanwhile.
///
/// # Errors
/// What the database answers.
pub async fn next_sequences(
    txn: &DatabaseTransaction,
    destination: &DestinationName,
    quote_ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i32>, DbErr> {
    let quote_ids = padded(quote_ids);
    if quote_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let last: Vec<(Uuid, i32)> = outbox_event::Entity::find()
        .select_only()
        .column(Column::AggregateId)
        .column_as(Column::Sequence.max(), "last")
        .filter(Column::AggregateId.is_in(quote_ids))
        .filter(Column::Destination.eq(destination.as_str()))
        .group_by(Column::AggregateId)
        .into_tuple()
        .all(txn)
        .await?;
    Ok(last.into_iter().map(|(quote_id, last)| (quote_id, last + 1)).collect())
}

/// About how many bytes `event` takes in a statement: what is bounded besides its payload, and that.
fn bytes(event: &NewEvent) -> usize {
    500 + database::json_bytes(&event.payload)
}

fn row(event: NewEvent, id: Uuid, now: DateTime<Utc>) -> outbox_event::ActiveModel {
    outbox_event::ActiveModel {
        id: Set(id),
        aggregate_type: Set("quote".into()),
        aggregate_id: Set(event.quote_id),
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
