//! Retention.

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

use super::{ahead, claim::status_in, destinations};
use crate::{
    clock::{SKEW_MAX, after, is_beyond},
    database::Database,
};

/// Rows a transaction: locks are held for milliseconds, and replicas keep up.
const BATCH_SIZE: u64 = 1_000;
/// The mark of how far events were pruned.
const EVENTS: &str = "outbox_event";

/// Deletes events that were delivered or cancelled before `settled_before`, in bounded batches, oldest first; returns
/// how many. Dead events are never deleted. Circuits' openings of that time are forgotten, too.
///
/// # Errors
/// What the database answers; batches before it stay deleted.
pub async fn prune(db: &Database, settled_before: DateTime<Utc>) -> Result<u64, DbErr> {
    let now = db.now(db.connection()).await?;
    ahead::bring_back_settled(db, now).await?;
    destinations::forget(db.connection(), settled_before, now).await?;
    // First, so that a crash in between leaves no gap that an audit would take for a loss.
    note_pruned(db, settled_before.min(now), now).await?;
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
    let marks: Vec<DateTime<Utc>> =
        prune_mark::Entity::find().select_only().column(prune_mark::Column::SettledBefore).into_tuple().all(db).await?;
    Ok(marks.into_iter().max())
}

/// Moves the mark forward. One that lies ahead was left by a clock that was wrong: what was settled until now may be gone.
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
