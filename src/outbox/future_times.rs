//! Times that lie further ahead than any setting permits. A clock ran ahead when they were stored, and no worker would touch
//! these rows until then.
//!
//! Claim, poll and rescue run all the time, so they do not check this. A job repairs such rows now and then, by queries
//! that an index answers with nothing as long as all is well.

use chrono::{DateTime, Utc};
use entity::{
    destination::{self, Circuit},
    outbox_event::{ActiveModel, Column, Entity, Status},
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::claim::status_in;
use crate::{
    clock::{LEASE_MAX, SKEW_MAX, WAIT_MAX, after, is_beyond},
    database::Database,
};

/// Rows a statement.
const BATCH_SIZE: u64 = 500;

/// What was repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Events that are due now instead of in a time that no setting permits.
    pub due: u64,
    /// Leases that end now: rescue takes their events back.
    pub leases: u64,
    /// Destinations whose `Retry-After` or next probe lay beyond any setting.
    pub destinations: Vec<String>,
}

impl Repaired {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes events due, and ends leases and holds, that lie further ahead than any setting permits, whatever the settings of
/// this process. It may be repeated: a lease that is ended although its holder lives costs one look-up, as any lease that
/// runs out.
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

/// Pending events for `destination` that are due further ahead than any wait lasts, the furthest first.
fn waiting_too_long(destination: &str, now: DateTime<Utc>) -> Select<Entity> {
    Entity::find()
        .filter(Column::Destination.eq(destination))
        .filter(status_in(&[Status::Pending]))
        .filter(Column::DueAt.gt(after(now, WAIT_MAX)))
        .order_by_desc(Column::DueAt)
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
    change_all(db, &waiting_too_long(destination, now), &due, Column::DueAt.gt(after(now, WAIT_MAX))).await
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
    }
}

fn without_future_hold(row: destination::Model, now: DateTime<Utc>) -> Option<destination::ActiveModel> {
    let waits = row.not_before.is_some_and(|until| is_beyond(now, until, WAIT_MAX));
    let unprobed =
        row.circuit == Circuit::Open && row.probe_at.is_some_and(|probe_at| is_beyond(now, probe_at, LEASE_MAX));
    if !(waits || unprobed) {
        return None;
    }
    let mut row = row.into_active_model();
    if waits {
        row.not_before = Set(None);
    }
    if unprobed {
        row.probe_at = Set(Some(now));
    }
    Some(row)
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
    let waiting = names.iter().map(|name| waiting_too_long(name, now));
    for select in waiting.chain([leased_too_long(now)]) {
        let some = select.select_only().columns([Column::Id, Column::AggregateId]).limit(limit);
        delayed.extend(some.into_tuple::<(Uuid, Uuid)>().all(db).await?);
    }
    Ok(delayed)
}
