//! Storing events, inside the transaction of what they are about.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::outbox_event;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Select};
use serde_json::Value;
use uuid::Uuid;

use super::{AggregateType, DestinationName, EventType};
use crate::{
    clock::ids,
    database::{
        Storing,
        insert_each::{Also, IfTaken, InsertEach},
        padded,
        update_each::{Cell, Column, Type},
    },
};

/// An event to store.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What kind of thing it is about, for example `quote`.
    pub aggregate_type: AggregateType,
    /// The thing that it is about, for example the quote's id.
    pub aggregate_id: Uuid,
    /// What it is about.
    pub event_type: EventType,
    /// Where it goes.
    pub destination: DestinationName,
    /// Whose it is, see [`super::claim()`]; empty if it is nobody's.
    pub partner: String,
    /// From 1: its place among the events of its aggregate for this destination. [`super::Withdrawn`] and
    /// [`next_sequences`] return the next place.
    pub sequence: i32,
    /// What the destination gets; not null.
    pub payload: Value,
    /// W3C `traceparent` of the request that caused it.
    pub trace_context: Option<String>,
}

const EVENTS: InsertEach = InsertEach {
    table: "outbox_event",
    columns: &[
        Column("id", Type::Uuid),
        Column("aggregate_type", Type::Text),
        Column("aggregate_id", Type::Uuid),
        Column("event_type", Type::Text),
        Column("destination", Type::Text),
        Column("partner", Type::Text),
        Column("sequence", Type::Integer),
        Column("payload", Type::Json),
        Column("trace_context", Type::Text),
        Column("created_at", Type::Time),
    ],
    also: &[
        ("status", Also::Literal("'pending'")),
        ("attempts", Also::Literal("0")),
        ("live_since", Also::Same("created_at")),
        ("due_at", Also::Same("created_at")),
        ("outcome_unknown", Also::Literal("false")),
        ("withdrawn", Also::Literal("false")),
        ("failures", Also::Literal("'[]'")),
    ],
    if_taken: IfTaken::Fail,
};

/// Stores `events`, due at once. They exist if and only if `txn` commits.
///
/// # Errors
/// Any database error. A `sequence` that is already taken is a unique violation, of this or of what it is sent with. Nothing is
/// stored then.
pub async fn record(txn: &impl Storing, now: DateTime<Utc>, events: Vec<NewEvent>) -> Result<(), DbErr> {
    let mut ids = ids(now);
    let rows = events.into_iter().map(|event| {
        vec![
            Cell::Uuid(ids()),
            Cell::Text(event.aggregate_type.into()),
            Cell::Uuid(event.aggregate_id),
            Cell::Text(event.event_type.into()),
            Cell::Text(event.destination.into()),
            Cell::Text(event.partner),
            Cell::Integer(event.sequence),
            Cell::Json(event.payload),
            event.trace_context.map_or(Cell::Keep, Cell::Text),
            Cell::Time(now),
        ]
    });
    EVENTS.store(txn, rows).await
}

/// The next `sequence` of each of `aggregate_ids` for `destination`. Those without events are left out: theirs is 1. The caller
/// holds a lock that keeps others from recording events of the same aggregates meanwhile.
///
/// # Errors
/// Any database error.
pub async fn next_sequences(
    txn: &impl ConnectionTrait,
    destination: &DestinationName,
    aggregate_ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i32>, DbErr> {
    let aggregate_ids = padded(aggregate_ids);
    if aggregate_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let last: Vec<(Uuid, i32)> = last_sequences(destination, aggregate_ids).into_tuple().all(txn).await?;
    Ok(last.into_iter().map(|(aggregate_id, last)| (aggregate_id, last + 1)).collect())
}

/// The query for the last `sequence` of each of `aggregate_ids`, which an index answers alone. Public so that tests can ask
/// databases for their plans.
#[must_use]
pub fn last_sequences(destination: &str, aggregate_ids: Vec<Uuid>) -> Select<outbox_event::Entity> {
    outbox_event::Entity::find()
        .select_only()
        .column(outbox_event::Column::AggregateId)
        .column_as(outbox_event::Column::Sequence.max(), "last")
        .filter(outbox_event::Column::AggregateId.is_in(aggregate_ids))
        .filter(outbox_event::Column::Destination.eq(destination))
        .group_by(outbox_event::Column::AggregateId)
}
