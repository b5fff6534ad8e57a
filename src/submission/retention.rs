//! Retention of idempotency keys.

use chrono::{DateTime, Utc};
use entity::idempotency_key::{Column, Entity};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::database::Database;

/// Rows a transaction, as for events.
const BATCH_SIZE: u64 = 1_000;

/// Deletes keys that were stored before `stored_before`, in bounded batches; returns how many. After that a client's
/// repeated call is a new submission.
///
/// # Errors
/// What the database answers; batches before it stay deleted.
pub async fn prune_keys(db: &Database, stored_before: DateTime<Utc>) -> Result<u64, DbErr> {
    let mut pruned = 0;
    loop {
        // The age of the last key of a batch bounds the batch: the key itself has two columns.
        let ages: Vec<DateTime<Utc>> = Entity::find()
            .select_only()
            .column(Column::CreatedAt)
            .filter(Column::CreatedAt.lt(stored_before))
            .order_by_asc(Column::CreatedAt)
            .limit(BATCH_SIZE)
            .into_tuple()
            .all(db.connection())
            .await?;
        let Some(youngest) = ages.last() else { return Ok(pruned) };
        let youngest = *youngest;
        let deleted = db.transaction(|txn| {
            Box::pin(async move { Entity::delete_many().filter(Column::CreatedAt.lte(youngest)).exec(&*txn).await })
        });
        pruned += deleted.await?.rows_affected;
    }
}
