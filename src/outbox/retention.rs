//! Retention: settled events are deleted after a while.

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{Column, Entity, Status},
    prune_mark,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, sea_query::OnConflict,
};
use uuid::Uuid;

use super::{claim::status_in, destinations, future_times};
use crate::{
    clock::{SKEW_MAX, after, is_beyond},
    database::Database,
};

/// Rows per transaction: locks are held for milliseconds, and replicas keep up.
const BATCH_SIZE: u64 = 1_000;
/// The name of the mark up to which events were pruned.
const EVENTS: &str = "outbox_event";

/// Deletes events that were delivered or cancelled before `settled_before`, in bounded batches, oldest first; returns how
/// many. Dead events are never deleted. The history of circuits is deleted up to the same time.
///
/// # Errors
/// Any database error; earlier batches stay deleted.
pub async fn prune(db: &Database, settled_before: DateTime<Utc>) -> Result<u64, DbErr> {
    let now = db.now(db.connection()).await?;
    future_times::repair_settled_times(db, now).await?;
    destinations::forget(db.connection(), settled_before, now).await?;
    // First: a crash in between must leave no gap that an audit would report as a loss.
    note_pruned(db, settled_before.min(now), now).await?;
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
        }
    }
    Ok(pruned)
}

/// The queries of [`prune`]: the ids of up to `limit` events each that settled before `settled_before`, the oldest first.
/// The index over settled events is partial where the database has partial indexes, and led by the status on `MariaDB`,
/// which would sort the whole history for one query of two statuses. Public so that tests can read their plans.
#[must_use]
pub fn prunable(backend: DbBackend, settled_before: DateTime<Utc>, limit: u64) -> Vec<Select<Entity>> {
    let statuses: &[&[Status]] = match backend {
        DbBackend::MySql => &[&[Status::Delivered], &[Status::Cancelled]],
        _ => &[&[Status::Delivered, Status::Cancelled]],
    };
    let query = |statuses: &&[Status]| {
        Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(status_in(statuses))
            .filter(Column::SettledAt.lt(settled_before))
            .order_by_asc(Column::SettledAt)
            .limit(limit)
    };
    statuses.iter().map(query).collect()
}

/// Settled events may have been deleted before this time, whatever `retention.delivered_for` was then; `None` if none ever
/// was. The fleet shares it: what another process or an earlier setting deleted is not taken for a loss.
///
/// # Errors
/// Any database error.
pub async fn pruned_before(db: &impl ConnectionTrait) -> Result<Option<DateTime<Utc>>, DbErr> {
    let marks: Vec<DateTime<Utc>> =
        prune_mark::Entity::find().select_only().column(prune_mark::Column::SettledBefore).into_tuple().all(db).await?;
    Ok(marks.into_iter().max())
}

/// Moves the mark forward. One in the future was left by a wrong clock: events that settled until now may be gone.
async fn note_pruned(db: &Database, settled_before: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), DbErr> {
    let mark = prune_mark::ActiveModel { name: Set(EVENTS.into()), settled_before: Set(settled_before) };
    let once = OnConflict::column(prune_mark::Column::Name).do_nothing_on([prune_mark::Column::Name]).to_owned();
    let connection = db.connection();
    let move_to = |to| {
        let to = prune_mark::ActiveModel { settled_before: Set(to), ..Default::default() };
        prune_mark::Entity::update_many().set(to).filter(prune_mark::Column::Name.eq(EVENTS))
    };
    match prune_mark::Entity::find_by_id(EVENTS).one(connection).await? {
        None => {
            prune_mark::Entity::insert(mark).on_conflict(once).exec_without_returning(connection).await?;
        }
        Some(mark) if is_beyond(now, mark.settled_before, SKEW_MAX) => {
            let ahead = prune_mark::Column::SettledBefore.gt(after(now, SKEW_MAX));
            move_to(now).filter(ahead).exec(connection).await?;
        }
        Some(_) => {
            let behind = prune_mark::Column::SettledBefore.lt(settled_before);
            move_to(settled_before).filter(behind).exec(connection).await?;
        }
    }
    Ok(())
}
