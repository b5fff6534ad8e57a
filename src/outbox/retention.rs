//! Retention.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::{ahead, claim::status_in, destinations};
use crate::database::{Database, prune_mark};

/// Rows a transaction: locks are held for milliseconds, and replicas keep up.
const BATCH_SIZE: u64 = 1_000;
/// The mark of how far events were pruned.
const EVENTS: &str = "outbox_event";

/// Deletes events that were delivered or cancelled before `settled_before`, in bounded batches, oldest first; returns
/// how many. A call goes at most six hours further than the one before. Dead events are never deleted. Circuits' openings of that time are forgotten, too.
///
/// # Errors
/// What the database answers; batches before it stay deleted.
pub async fn prune(db: &Database, settled_before: DateTime<Utc>) -> Result<u64, DbErr> {
    let now = db.now(db.connection()).await?;
    ahead::bring_back_settled(db, now).await?;
    destinations::forget(db.connection(), settled_before, now).await?;
    let settled_before = prune_mark::advance(db, EVENTS, settled_before, now).await?;
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

/// Before this time settled events may have been deleted, by whatever `retention.delivered_for` was in force then. `None` if
/// nothing ever was. Shared by the fleet, so that nobody misses what another process, or an earlier setting, deleted.
///
/// # Errors
/// Any database error.
pub async fn pruned_before(db: &impl ConnectionTrait) -> Result<Option<DateTime<Utc>>, DbErr> {
    prune_mark::settled_before(db, EVENTS).await
}
