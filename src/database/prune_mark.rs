//! How far a table was pruned, shared by the fleet.
//!
//! What is deleted cannot be brought back, so that a clock that runs ahead must not delete what is young: the mark goes
//! forward by at most [`STEP_MAX`] a tick, however far ahead of it the time is. A clock that was set a year ahead for an hour
//! costs six hours of evidence.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::prune_mark::{ActiveModel, Column, Entity};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, sea_query::OnConflict};

use super::Database;
use crate::clock::{SKEW_MAX, after, is_beyond};

/// How far a mark moves at most: six times the hour between two ticks, so that what was left lying is caught up with.
pub(crate) const STEP_MAX: Duration = Duration::from_hours(6);

/// Moves the mark of `table` towards `wanted`, and answers up to where rows may be deleted now, if any may. The mark is stored before
/// anything is deleted: a crash in between leaves no gap that an audit would take for a loss.
///
/// # Errors
/// Any database error.
pub(crate) async fn advance(
    db: &Database,
    table: &'static str,
    wanted: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let (connection, wanted) = (db.connection(), wanted.min(now));
    let update = |to| Entity::update_many().set(mark(to)).filter(Column::Name.eq(table));
    let Some(before) = settled_before(connection, table).await? else {
        let once = OnConflict::column(Column::Name).do_nothing_on([Column::Name]).to_owned();
        let first = ActiveModel { name: Set(table.into()), ..mark(wanted) };
        Entity::insert(first).on_conflict(once).exec_without_returning(connection).await?;
        return Ok(Some(wanted));
    };
    if is_beyond(now, before, SKEW_MAX) {
        // A clock was wrong when it was stored, or is wrong now: nothing is deleted by such a tick.
        update(now).filter(Column::SettledBefore.gt(after(now, SKEW_MAX))).exec(connection).await?;
        return Ok(None);
    }
    let until = wanted.min(after(before, STEP_MAX));
    update(until).filter(Column::SettledBefore.lt(until)).exec(connection).await?;
    Ok(Some(until))
}

/// Before this time rows of `table` may have been deleted, by whatever setting was in force then. `None` if none ever were.
pub(crate) async fn settled_before(db: &impl ConnectionTrait, table: &str) -> Result<Option<DateTime<Utc>>, DbErr> {
    Ok(Entity::find_by_id(table).one(db).await?.map(|mark| mark.settled_before))
}

fn mark(settled_before: DateTime<Utc>) -> ActiveModel {
    ActiveModel { settled_before: Set(settled_before), ..Default::default() }
}
