//! Retention.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{ColumnTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
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
    for question in prunable(db.connection().get_database_backend(), settled_before, BATCH_SIZE) {
        loop {
            // Two statements, because MariaDB takes no LIMIT in the subquery of a DELETE.
            let ids: Vec<Uuid> = question.clone().into_tuple().all(db.connection()).await?;
            if ids.is_empty() {
                break;
            }
            let ids = &ids;
            let deleted = db.transaction(|txn| {
                Box::pin(async move { Entity::delete_many().filter(Column::Id.is_in(ids.clone())).exec(&*txn).await })
            });
            pruned += deleted.await?.rows_affected;
        }
    }
    Ok(pruned)
}

/// Retention's own questions: the ids of up to `limit` events each that settled before `settled_before`, the oldest first.
/// The index over settled events is partial where the database has that, and led by the status on `MariaDB`, which would
/// sort the whole history for one question about two statuses. Public so that databases can be asked for their plans.
#[must_use]
pub fn prunable(backend: DbBackend, settled_before: DateTime<Utc>, limit: u64) -> Vec<Select<Entity>> {
    let statuses: &[&[Status]] = match backend {
        DbBackend::MySql => &[&[Status::Delivered], &[Status::Cancelled]],
        _ => &[&[Status::Delivered, Status::Cancelled]],
    };
    let question = |statuses: &&[Status]| {
        Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(status_in(statuses))
            .filter(Column::SettledAt.lt(settled_before))
            .order_by_asc(Column::SettledAt)
            .limit(limit)
    };
    statuses.iter().map(question).collect()
}
