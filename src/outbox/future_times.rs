//! Times that a wrong clock has stored: it ran ahead, and nobody would look at these rows until then.
//!
//! Two things give such a time away: it lies further ahead than any setting permits, or what the same clock has stamped beside
//! it (when the row was stored, changed, or last failed) has not happened yet.
//!
//! Claim, poll and rescue run all the time, so they do not check this. A job repairs such rows now and then, by queries
//! that an index answers with nothing as long as all is well.

use chrono::{DateTime, Utc};
use entity::{
    destination,
    outbox_event::{ActiveModel, Column, Entity, Status},
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Failure, claim::status_in, destinations::without_wrong_clocks};
use crate::{
    clock::{LEASE_MAX, SKEW_MAX, WAIT_MAX, after, is_beyond},
    crash,
    database::Database,
};

/// Rows a statement.
const BATCH_SIZE: u64 = 500;

/// What was repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Events that are due now instead of when a wrong clock said.
    pub due: u64,
    /// Leases that end now: rescue takes their events back.
    pub leases: u64,
    /// Destinations that a wrong clock held back, or whose next probe it put off.
    pub destinations: Vec<String>,
}

impl Repaired {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes events due, and ends leases and holds, that a wrong clock has put off, whatever the settings of this process. It may
/// be repeated: a lease that is ended although its holder lives costs one look-up, as any lease that runs out.
///
/// # Errors
/// Any database error; what was done before it stays done.
pub async fn repair_future_times(db: &Database) -> Result<Repaired, DbErr> {
    let connection = db.connection();
    let now = db.now(connection).await?;
    let mut repaired = Repaired::default();
    for row in destination::Entity::find().all(connection).await? {
        let name = row.name.clone();
        repaired.due += repair_due_times(db, &name, now).await?;
        if let Some(row) = without_future_hold(row, now) {
            row.update(connection).await?;
            repaired.destinations.push(name);
        }
    }
    repaired.leases = repair_leases(db, now).await?;
    Ok(repaired)
}

/// What is asked of an event that waits.
#[derive(FromQueryResult)]
struct Waiting {
    id: Uuid,
    aggregate_id: Uuid,
    due_at: DateTime<Utc>,
    live_since: DateTime<Utc>,
    failures: Json,
}

impl Waiting {
    /// Whether a clock ran ahead when `due_at` was stored: it lies further ahead than any wait lasts, or what else the
    /// same clock has stamped has not happened yet.
    fn is_by_a_wrong_clock(&self, now: DateTime<Utc>) -> bool {
        let failed_at = Failure::all_in(&self.failures).pop().map(|failure| failure.at);
        // Not when it was stored: that is never corrected, and a new event lives since then.
        let stamped = [Some(self.live_since), failed_at].into_iter().flatten();
        is_beyond(now, self.due_at, WAIT_MAX) || stamped.max().is_some_and(|at| is_beyond(now, at, SKEW_MAX))
    }
}

/// Pending events for `destination` that a wrong clock has put off, among those that wait longest: at most [`BATCH_SIZE`] are
/// read, however many wait.
async fn waiting_too_long(
    db: &impl ConnectionTrait,
    destination: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Waiting>, DbErr> {
    let longest: Vec<Waiting> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::AggregateId, Column::DueAt, Column::LiveSince])
        .column(Column::Failures)
        .filter(Column::Destination.eq(destination))
        .filter(status_in(&[Status::Pending]))
        .filter(Column::DueAt.gt(after(now, SKEW_MAX)))
        .order_by_desc(Column::DueAt)
        .limit(BATCH_SIZE)
        .into_model()
        .all(db)
        .await?;
    Ok(longest.into_iter().filter(|event| event.is_by_a_wrong_clock(now)).collect())
}

/// Leases that end further ahead than any lease lasts.
fn leased_too_long(now: DateTime<Utc>) -> Select<Entity> {
    Entity::find()
        .filter(status_in(&[Status::Leased]))
        .filter(Column::LeasedUntil.gt(after(now, LEASE_MAX)))
        .order_by_desc(Column::LeasedUntil)
}

async fn repair_due_times(db: &Database, destination: &str, now: DateTime<Utc>) -> Result<u64, DbErr> {
    // `retry.give_up_after` counts from now: the age of such an event is unknown.
    let due = ActiveModel { due_at: Set(now), live_since: Set(now), ..Default::default() };
    let mut changed = 0;
    loop {
        let waiting = waiting_too_long(db.connection(), destination, now).await?;
        if waiting.is_empty() {
            return Ok(changed);
        }
        let ids = waiting.iter().map(|event| event.id);
        // Unless it was claimed, or put off anew, meanwhile.
        let update = Entity::update_many()
            .set(due.clone())
            .filter(Column::Id.is_in(ids))
            .filter(Column::Status.eq(Status::Pending))
            .filter(Column::DueAt.gt(after(now, SKEW_MAX)));
        changed += update.exec(db.connection()).await?.rows_affected;
        crash::point("after-bring-back");
    }
}

async fn repair_leases(db: &Database, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let over = ActiveModel { leased_until: Set(Some(now)), ..Default::default() };
    change_all(db, &leased_too_long(now), &over, Column::LeasedUntil.gt(after(now, LEASE_MAX))).await
}

/// Retention counts from the day when a row was delivered or cancelled. One that was in the future counts from now.
pub(super) async fn repair_settled_times(db: &Database, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let ahead = Column::SettledAt.gt(after(now, SKEW_MAX));
    let now = ActiveModel { settled_at: Set(Some(now)), ..Default::default() };
    let mut changed = 0;
    // One after the other: the index of `MariaDB` is led by the status.
    for status in [Status::Delivered, Status::Cancelled] {
        let settled = Entity::find().filter(status_in(&[status])).filter(ahead.clone());
        changed += change_all(db, &settled.order_by_desc(Column::SettledAt), &now, ahead.clone()).await?;
    }
    Ok(changed)
}

/// Changes all that `select` finds, in bounded statements, unless it was changed meanwhile and is no longer `beyond`.
async fn change_all(
    db: &Database,
    select: &Select<Entity>,
    to: &ActiveModel,
    beyond: sea_orm::sea_query::Expr,
) -> Result<u64, DbErr> {
    let mut changed = 0;
    loop {
        let some = select.clone().select_only().column(Column::Id).limit(BATCH_SIZE);
        let ids: Vec<Uuid> = some.into_tuple().all(db.connection()).await?;
        if ids.is_empty() {
            return Ok(changed);
        }
        let update = Entity::update_many().set(to.clone()).filter(Column::Id.is_in(ids)).filter(beyond.clone());
        changed += update.exec(db.connection()).await?.rows_affected;
        crash::point("after-bring-back");
    }
}

fn without_future_hold(row: destination::Model, now: DateTime<Utc>) -> Option<destination::ActiveModel> {
    let repaired = without_wrong_clocks(row.clone(), now);
    (repaired != row).then(|| {
        let destination::Model { not_before, probe_at, failing_since, callable_since, .. } = repaired;
        let mut row = row.into_active_model();
        (row.not_before, row.probe_at, row.updated_at) = (Set(not_before), Set(probe_at), Set(now));
        (row.failing_since, row.callable_since) = (Set(failing_since), Set(callable_since));
        row
    })
}

/// Ids of events, and of their quotes, that wait or are leased further ahead than any setting permits: at most `limit`.
///
/// # Errors
/// Any database error.
pub async fn delayed_by_future_times(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<(Uuid, Uuid)>, DbErr> {
    let mut delayed = Vec::new();
    let names: Vec<String> =
        destination::Entity::find().select_only().column(destination::Column::Name).into_tuple().all(db).await?;
    for name in names {
        let waiting = waiting_too_long(db, &name, now).await?;
        delayed.extend(waiting.iter().map(|event| (event.id, event.aggregate_id)));
    }
    let leased = leased_too_long(now).select_only().columns([Column::Id, Column::AggregateId]).limit(limit);
    delayed.extend(leased.into_tuple::<(Uuid, Uuid)>().all(db).await?);
    delayed.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(delayed)
}
