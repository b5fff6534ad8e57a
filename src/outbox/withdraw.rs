//! Giving up events that have not been delivered: all of one aggregate, inside the transaction that cancels it, one event
//! alone, or many together.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity, Model, Status};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::{DestinationName, parking::unpark, record::last_sequences};
use crate::database::{DatabaseTransaction, padded};

/// What was found when the events of an aggregate were withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// An attempt was made, is running, or may have been made: the destination may have acted on it. Also set when there is no
    /// event at all: then something other than the outbox sends, and what it did is not known here.
    pub may_have_reached: bool,
    /// The `sequence` of the next event of this aggregate for this destination.
    pub next_sequence: i32,
}

/// Withdraws the events of `aggregate_id` for `destination`. Those that are pending or dead become `cancelled`. A leased one is
/// left to its worker, and no attempt follows the running one: an event recorded at `next_sequence` is delivered after that
/// attempt has ended.
///
/// # Errors
/// Any database error.
pub async fn withdraw(
    txn: &DatabaseTransaction,
    aggregate_id: Uuid,
    destination: &DestinationName,
    now: DateTime<Utc>,
) -> Result<Withdrawn, DbErr> {
    let events = Entity::find()
        .filter(Column::AggregateId.eq(aggregate_id))
        .filter(Column::Destination.eq(destination.as_str()))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .all(txn)
        .await?;
    end_all(txn, &events, now).await?;
    Ok(Withdrawn::of(&events.iter().collect::<Vec<_>>()))
}

/// Gives up event `id` alone, as [`withdraw`] does. Returns the event as it was, locked. One that was delivered or cancelled
/// before stays as it is.
///
/// # Errors
/// Any database error.
pub async fn give_up(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<Option<Model>, DbErr> {
    let Some(event) = Entity::find_by_id(id).lock_exclusive().one(txn).await? else {
        return Ok(None);
    };
    end_all(txn, [&event], now).await?;
    unpark(txn, &event.destination, [event.aggregate_id], now).await?;
    Ok(Some(event))
}

/// Locks events `ids`, and with each all others of its aggregate for the same destination, in the order of their ids. They are given
/// up by [`end_all`].
///
/// # Errors
/// Any database error.
pub async fn lock_to_give_up(txn: &DatabaseTransaction, ids: &[Uuid]) -> Result<Vec<Model>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // What is asked for here never changes. So all locks are taken by one statement, in one order.
    let named: Vec<(String, Uuid)> = Entity::find()
        .select_only()
        .columns([Column::Destination, Column::AggregateId])
        .filter(Column::Id.is_in(padded(ids.iter().copied())))
        .into_tuple()
        .all(txn)
        .await?;
    let mut aggregates: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for (destination, aggregate_id) in &named {
        aggregates.entry(destination).or_default().push(*aggregate_id);
    }
    let mut ids = Vec::new();
    for (destination, aggregate_ids) in aggregates {
        ids.extend(of_aggregates(txn, destination, aggregate_ids).await?);
    }
    ids.sort_unstable();
    ids.dedup();
    Entity::find().filter(Column::Id.is_in(padded(ids))).order_by_asc(Column::Id).lock_exclusive().all(txn).await
}

async fn of_aggregates(
    txn: &DatabaseTransaction,
    destination: &str,
    aggregate_ids: Vec<Uuid>,
) -> Result<Vec<Uuid>, DbErr> {
    let last = last_sequences(destination, padded(aggregate_ids)).into_tuple::<(Uuid, i32)>().all(txn).await?;
    let mut ids = Vec::new();
    for sequence in 1..=last.iter().map(|(_, last)| *last).max().unwrap_or(0) {
        let those = last.iter().filter(|(_, last)| *last >= sequence).map(|(aggregate_id, _)| *aggregate_id);
        let found: Vec<(Uuid, Status)> = at_place(destination, padded(those), sequence).into_tuple().all(txn).await?;
        ids.extend(found.into_iter().map(|(id, _)| id));
    }
    Ok(ids)
}

/// The query for the events at this place of `aggregate_ids` for `destination`. By a part of the key of order, or for the id alone,
/// `MariaDB` would read a whole index. Public so that tests can ask databases for their plans.
#[must_use]
pub fn at_place(destination: &str, aggregate_ids: Vec<Uuid>, sequence: i32) -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::Status])
        .filter(Column::AggregateId.is_in(aggregate_ids))
        .filter(Column::Destination.eq(destination))
        .filter(Column::Sequence.eq(sequence))
}

/// Makes the later events of `given_up` due, which are locked and were ended alone.
///
/// # Errors
/// Any database error.
pub async fn unpark_after(txn: &DatabaseTransaction, given_up: &[&Model], now: DateTime<Utc>) -> Result<(), DbErr> {
    let mut aggregates: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for event in given_up {
        aggregates.entry(&event.destination).or_default().push(event.aggregate_id);
    }
    for (destination, aggregate_ids) in aggregates {
        unpark(txn, destination, aggregate_ids, now).await?;
    }
    Ok(())
}

/// Gives `events` up, which are locked: those that wait or are dead become `cancelled`, and the running attempt of a leased one is
/// its last. The others stay as they are.
///
/// # Errors
/// Any database error.
pub async fn end_all(
    txn: &DatabaseTransaction,
    events: impl IntoIterator<Item = &Model>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let (mut over, mut leased) = (Vec::new(), Vec::new());
    for event in events {
        match event.status {
            Status::Pending | Status::Dead => over.push(event.id),
            Status::Leased => leased.push(event.id),
            Status::Delivered | Status::Cancelled => {}
        }
    }
    let cancelled = ActiveModel { status: Set(Status::Cancelled), settled_at: Set(Some(now)), ..Default::default() };
    let withdrawn = ActiveModel { withdrawn: Set(true), ..Default::default() };
    for (ids, change) in [(over, cancelled), (leased, withdrawn)] {
        if !ids.is_empty() {
            Entity::update_many().set(change).filter(Column::Id.is_in(padded(ids))).exec(txn).await?;
        }
    }
    Ok(())
}

impl Withdrawn {
    /// What `events` say, which are all of an aggregate for a destination.
    #[must_use]
    pub fn of(events: &[&Model]) -> Self {
        Self {
            may_have_reached: events.is_empty() || events.iter().any(|event| may_have_reached(event)),
            next_sequence: events.iter().map(|event| event.sequence).max().unwrap_or(0) + 1,
        }
    }
}

/// In doubt, yes: taking back what does not exist does no harm.
fn may_have_reached(event: &Model) -> bool {
    matches!(event.status, Status::Leased | Status::Delivered)
        || event.attempts > 0
        || event.outcome_unknown
        || event.failures.as_array().is_some_and(|failures| !failures.is_empty())
}
