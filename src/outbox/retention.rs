//! Retention.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{circuit, claim::status_in};
use crate::database::Database;

/// Rows a transaction: locks are held for milliseconds, and replicas keep up.
const BATCH_SIZE: u64 = 1_000;

/// Deletes events that were delivered or cancelled before `settled_before`, in bounded batches, oldest first; returns
/// how many. Dead events are never deleted. Circuits' openings of that time are forgotten, too.
///
/// # Errors
/// What the database answers; batches before it stay deleted.
pub async fn prune(db: &Database, settled_before: DateTime<Utc>) -> Result<u64, DbErr> {
    circuit::forget(db.connection(), settled_before).await?;
    let mut pruned = 0;
    loop {
        // Two statements, because MariaDB takes no LIMIT in the subquery of a DELETE.
        let ids: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(status_in(&[Status::Delivered, Status::Cancelled]))
            .filter(Column::SettledAt.lt(settled_before))
            .order_by_asc(Column::SettledAt)
            .limit(BATCH_SIZE)
            .into_tuple()
            .all(db.connection())
            .await?;
        if ids.is_empty() {
            return Ok(pruned);
        }
        let ids = &ids;
        let deleted = db.transaction(|txn| {
            Box::pin(async move { Entity::delete_many().filter(Column::Id.is_in(ids.clone())).exec(&*txn).await })
        });
        pruned += deleted.await?.rows_affected;
    }
}
