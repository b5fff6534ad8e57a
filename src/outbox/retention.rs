//! Retention: settled events are deleted after a while.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::{claim::status_in, destinations, future_times};
use crate::{
    crash,
    database::{Database, prune_mark},
};

/// Rows per transaction: locks are held for milliseconds, and replicas keep up.
const BATCH_SIZE: u64 = 1_000;
/// The name of the mark up to which events were pruned.
const EVENTS: &str = "outbox_event";

/// Deletes events that were delivered or cancelled before `settled_before`, in bounded batches, oldest first; returns how
/// many. A call goes at most six hours further than the one before it. Dead events are never deleted. The history of
/// circuits is deleted up to the same time, but kept for 90 days at least.
///
/// # Errors
/// Any database error; earlier batches stay deleted.
pub async fn prune(db: &Database, settled_before: DateTime<Utc>) -> Result<u64, DbErr> {
    let now = db.now(db.connection()).await?;
    let Some(settled_before) = prune_mark::advance(db, EVENTS, settled_before, now).await? else { return Ok(0) };
    future_times::repair_settled_times(db, now).await?;
    destinations::forget(db.connection(), settled_before, now).await?;
    crash::point("after-prune-mark");
    let mut pruned = 0;
    for query in prunable(db.connection().get_database_backend(), settled_before, BATCH_SIZE) {
        loop {
            // Two statements, because MariaDB takes no LIMIT in the subquery of a DELETE.
            let ids: Vec<Uuid> = query.clone().into_tuple().all(db.connection()).await?;
            if ids.is_empty() {
                break;
            }
            let ids = &ids;
            let deleted = db.transaction(|txn| {
                Box::pin(async move { Entity::delete_many().filter(Column::Id.is_in(ids.clone())).exec(&*txn).await })
            });
            pruned += deleted.await?.rows_affected;
            crash::point("after-prune-batch");
        }
    }
    Ok(pruned)
}

/// The statuses of settled events that are not dead, for one query each. The index over them is partial where the database has
/// partial indexes, and led by the status on `MariaDB`, which would sort the whole history for one query of two statuses.
pub(crate) fn settled_statuses(backend: DbBackend) -> &'static [&'static [Status]] {
    match backend {
        DbBackend::MySql => &[&[Status::Delivered], &[Status::Cancelled]],
        _ => &[&[Status::Delivered, Status::Cancelled]],
    }
}

/// The queries of [`prune`]: the ids of up to `limit` events each that settled before `settled_before`, the oldest first.
/// Public so that tests can read their plans.
#[must_use]
pub fn prunable(backend: DbBackend, settled_before: DateTime<Utc>, limit: u64) -> Vec<Select<Entity>> {
    let query = |statuses: &&[Status]| {
        Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(status_in(statuses))
            .filter(Column::SettledAt.lt(settled_before))
            .order_by_asc(Column::SettledAt)
            .limit(limit)
    };
    settled_statuses(backend).iter().map(query).collect()
}

/// Settled events may have been deleted before this time, whatever `retention.delivered_for` was then; `None` if none ever
/// was. The fleet shares it: what another process or an earlier setting deleted is not taken for a loss.
///
/// # Errors
/// Any database error.
pub async fn pruned_before(db: &impl ConnectionTrait) -> Result<Option<DateTime<Utc>>, DbErr> {
    prune_mark::settled_before(db, EVENTS).await
}
