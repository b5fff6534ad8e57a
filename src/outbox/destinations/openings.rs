//! The history of circuits: when each was open. Their current state is in `gate`.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    circuit_opening::{ActiveModel, Column, Entity},
    destination::Circuit,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::{clock, database::DatabaseTransaction};

pub use entity::circuit_opening::Model as CircuitOpening;

/// Openings are kept for as long as the hours of the series at least, whatever events they held back.
pub const OPENINGS_KEPT_FOR: TimeDelta = TimeDelta::days(90);
/// The most openings that are returned.
const OPENINGS_MAX: u64 = 100;

/// Records that the circuit of `destination` moved from one state to the other. The caller holds the lock of the
/// destination's row.
pub(super) async fn record(
    txn: &DatabaseTransaction,
    destination: &str,
    (from, to): (Circuit, Circuit),
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    match (from, to) {
        (Circuit::Closed, Circuit::Open) => {
            let opening = ActiveModel {
                id: Set(clock::ids(now)()),
                destination: Set(destination.into()),
                opened_at: Set(now),
                closed_at: Set(None),
                reason: Set(reason.map(str::to_owned)),
            };
            Entity::insert(opening).exec_without_returning(txn).await.map(drop)
        }
        (Circuit::Open, Circuit::Closed) => {
            let closed = ActiveModel { closed_at: Set(Some(now)), ..Default::default() };
            let open = Entity::update_many().set(closed).filter(Column::Destination.eq(destination));
            open.filter(Column::ClosedAt.is_null()).exec(txn).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// When the circuits of `destinations` were open between `since` and `until`, oldest first.
///
/// # Errors
/// Any database error.
pub async fn circuit_openings(
    db: &impl ConnectionTrait,
    destinations: &[&str],
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<CircuitOpening>, DbErr> {
    Entity::find()
        .filter(Column::Destination.is_in(destinations.iter().copied()))
        .filter(Column::OpenedAt.lte(until))
        .filter(Condition::any().add(Column::ClosedAt.is_null()).add(Column::ClosedAt.gte(since)))
        .order_by_asc(Column::OpenedAt)
        .limit(OPENINGS_MAX)
        .all(db)
        .await
}

/// The openings of the circuit of `destination` that ended after `since`, the newest first, at most `limit`. They do not overlap.
///
/// # Errors
/// Any database error.
pub async fn latest_openings(
    db: &impl ConnectionTrait,
    destination: &str,
    since: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<CircuitOpening>, DbErr> {
    let newest = Entity::find().filter(Column::Destination.eq(destination)).order_by_desc(Column::OpenedAt);
    let mut openings = newest.limit(limit).all(db).await?;
    openings.retain(|opening| opening.closed_at.is_none_or(|closed_at| closed_at > since));
    Ok(openings)
}

/// Deletes openings that ended before `closed_before`, and longer ago than they are kept for. Those that end in the future, by a clock that ran ahead, end now.
pub(in crate::outbox) async fn forget(
    db: &impl ConnectionTrait,
    closed_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let over = ActiveModel { closed_at: Set(Some(now)), ..Default::default() };
    let ahead = Column::ClosedAt.gt(clock::after(now, clock::SKEW_MAX));
    Entity::update_many().set(over).filter(ahead).exec(db).await?;
    let closed_before = closed_before.min(now - OPENINGS_KEPT_FOR);
    Entity::delete_many().filter(Column::ClosedAt.lt(closed_before)).exec(db).await.map(drop)
}
