//! Events that wait for an earlier one of their aggregate are parked, so that claims do not read them again and again: a
//! thousand of them at the head of the queue, behind dead events for example, would be read by each claim.
//!
//! A parked event is due only in an hour. What ends the earlier event makes it due at once, in the same transaction.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use entity::{
    destination,
    outbox_event::{ActiveModel, Column, Entity, Status},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use super::{
    claim::an_earlier_unfinished_event,
    turns::{PARTNERS_MAX, Turn, partners, pending_of},
};
use crate::{
    clock::after,
    database::{Database, DatabaseTransaction, found_status, padded},
};

/// So many events at the head of a partner's queue are looked at.
const HEAD: u64 = 1_000;
/// What has been due for less is left alone: a settle that is about to end the earlier event may not have seen that another follows.
const DUE_FOR: Duration = Duration::from_mins(1);
/// Should what ends the earlier event ever forget it, a parked event comes back by itself.
const PARKED_FOR: Duration = Duration::from_hours(1);

/// Parks events at the heads of all queues that wait for an earlier one; returns how many.
///
/// # Errors
/// Any database error; what was parked before stays parked.
pub async fn park(db: &Database) -> Result<u64, DbErr> {
    let mut parked = 0;
    for destination in destination::Entity::find().all(db.connection()).await? {
        let mut turn = Turn::default();
        loop {
            let (connection, name) = (db.connection(), destination.name.as_str());
            let found = partners(connection, name, db.now(connection).await?, &turn, PARTNERS_MAX).await?;
            parked += park_heads(db, name, &found.names).await?;
            let Some(last) = found.last else { break };
            turn = Turn::after(&last);
        }
    }
    Ok(parked)
}

async fn park_heads(db: &Database, destination: &str, partners: &[String]) -> Result<u64, DbErr> {
    let mut parked = 0;
    while !partners.is_empty() {
        let heads = db.transaction(|txn| {
            Box::pin(async move {
                let mut parked = 0;
                for partner in partners {
                    parked += park_head(&txn, db, destination, partner).await?;
                }
                Ok::<u64, DbErr>(parked)
            })
        });
        let some = heads.await?;
        parked += some;
        // Behind those that were parked others are at the head now.
        if some == 0 {
            break;
        }
    }
    Ok(parked)
}

async fn park_head(txn: &DatabaseTransaction, db: &Database, destination: &str, partner: &str) -> Result<u64, DbErr> {
    let now = db.begun_at(txn);
    let head: Vec<Uuid> = pending_of(txn.get_database_backend(), destination, partner, now - DUE_FOR)
        .select_only()
        .column(Column::Id)
        .limit(HEAD)
        .into_tuple()
        .all(txn)
        .await?;
    if head.is_empty() {
        return Ok(0);
    }
    let waiting: Vec<(Uuid, Uuid, i32)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::AggregateId, Column::Sequence])
        .filter(Column::Id.is_in(padded(head)))
        .filter(Column::Sequence.gt(1))
        .filter(Expr::exists(an_earlier_unfinished_event()))
        .into_tuple()
        .all(txn)
        .await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    // Locked, so that nobody ends an earlier event between here and the commit, and leaves a later one parked for nothing.
    let earlier: Vec<(Uuid, i32)> = Entity::find()
        .select_only()
        .columns([Column::AggregateId, Column::Sequence])
        .filter(Column::AggregateId.is_in(padded(waiting.iter().map(|(_, aggregate_id, _)| *aggregate_id))))
        .filter(Column::Destination.eq(destination))
        .filter(found_status((Entity, Column::Status), [Status::Pending, Status::Leased, Status::Dead]))
        .order_by_asc(Column::Id)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple()
        .all(txn)
        .await?;
    let earlier: HashSet<_> = earlier.into_iter().collect();
    let is_behind = |aggregate_id: Uuid, sequence: i32| (1..sequence).any(|it| earlier.contains(&(aggregate_id, it)));
    let waiting = waiting.into_iter().filter(|(_, aggregate_id, sequence)| is_behind(*aggregate_id, *sequence));
    let ids: Vec<_> = waiting.map(|(id, ..)| id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let later = ActiveModel { due_at: Set(after(now, PARKED_FOR)), ..Default::default() };
    let parked = Entity::update_many()
        .set(later)
        .filter(Column::Id.is_in(padded(ids)))
        .filter(found_status((Entity, Column::Status), [Status::Pending]))
        .exec(txn)
        .await?;
    Ok(parked.rows_affected)
}

/// Makes the parked events of `aggregate_ids` for `destination` due, because one before them has ended. Those that wait for a
/// retry have been attempted, and go on waiting.
pub(super) async fn unpark(
    txn: &DatabaseTransaction,
    destination: &str,
    aggregate_ids: impl IntoIterator<Item = Uuid>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let aggregate_ids = padded(aggregate_ids);
    if aggregate_ids.is_empty() {
        return Ok(());
    }
    let parked = Condition::all()
        .add(Column::Sequence.gt(1))
        .add(Column::Attempts.eq(0))
        .add(Column::DueAt.gt(now))
        .add(found_status((Entity, Column::Status), [Status::Pending]));
    Entity::update_many()
        .set(ActiveModel { due_at: Set(now), ..Default::default() })
        .filter(Column::AggregateId.is_in(aggregate_ids))
        .filter(Column::Destination.eq(destination))
        .filter(parked)
        .exec(txn)
        .await
        .map(drop)
}
