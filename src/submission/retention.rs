//! Retention of idempotency keys.

use chrono::{DateTime, Utc};
use entity::idempotency_key::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, DeleteMany, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use crate::{
    clock::{SKEW_MAX, after},
    database::{Database, prune_mark},
};

/// Rows a transaction, as for events.
const BATCH_SIZE: u64 = 1_000;

/// Deletes keys that were stored before `stored_before`, in bounded batches; returns how many. A call goes at most six
/// hours further than the one before. After that a client's repeated call is a new submission.
///
/// # Errors
/// Any database error; earlier batches stay deleted.
pub async fn prune_keys(db: &Database, stored_before: DateTime<Utc>) -> Result<u64, DbErr> {
    // Keys that were stored in the future, by a clock that was wrong, are as old as now.
    let now = db.now(db.connection()).await?;
    let stored_before = prune_mark::advance(db, "idempotency_key", stored_before, now).await?;
    let Some(stored_before) = stored_before else { return Ok(0) };
    let of_now = ActiveModel { created_at: Set(now), ..Default::default() };
    let ahead = Column::CreatedAt.gt(after(now, SKEW_MAX));
    Entity::update_many().set(of_now).filter(ahead).exec(db.connection()).await?;
    let mut pruned = 0;
    loop {
        let ages: Vec<DateTime<Utc>> = ages(stored_before, BATCH_SIZE).into_tuple().all(db.connection()).await?;
        let (Some(oldest), Some(youngest)) = (ages.first().copied(), ages.last().copied()) else { return Ok(pruned) };
        let deleted = db.transaction(|txn| Box::pin(async move { deletion(oldest, youngest).exec(&*txn).await }));
        pruned += deleted.await?.rows_affected;
    }
}

/// When the oldest keys were stored, up to `limit` of those before `stored_before`.
/// Public so that databases can be asked for their plan.
#[must_use]
pub fn ages(stored_before: DateTime<Utc>, limit: u64) -> Select<Entity> {
    let old = Entity::find().select_only().column(Column::CreatedAt).filter(Column::CreatedAt.lt(stored_before));
    old.order_by_asc(Column::CreatedAt).limit(limit)
}

/// Deletes a batch, bounded by the ages of its first and last key: a key itself has two columns. Bounded at both ends, because
/// by statistics from before the last pruning nearly all keys are older than the youngest of a batch, and a planner would
/// read the whole table for each. Public so that databases can be asked for their plan.
#[must_use]
pub fn deletion(oldest: DateTime<Utc>, youngest: DateTime<Utc>) -> DeleteMany<Entity> {
    Entity::delete_many().filter(Column::CreatedAt.between(oldest, youngest))
}
