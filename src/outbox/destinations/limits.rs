//! The limits of the fleet: the most calls to a destination that begin a second, and that are in flight.
//!
//! They are kept by the claim, since each call has one. A claim under limits locks the destination's row, so that the claims of all
//! workers take turns, and takes no more events than may be called at that moment. Calls a second are counted by the time at
//! which the next one may begin: each call moves it forward by its share of a second. Calls in flight are the leases that have not
//! ended: those of a dead worker count until they end. Without limits nothing of this happens.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    destination::{ActiveModel, Column, Entity, Model},
    outbox_event,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, Select};
use serde::Serialize;

use super::without_wrong_clocks;
use crate::{
    clock::{Clock, is_beyond},
    database::DatabaseTransaction,
    outbox::{EventStatus, status_in},
};

/// Calls that could have begun so long ago may begin now: claims come a moment late. It is 2.5 % of ten seconds.
const MADE_UP_FOR: Duration = Duration::from_millis(250);
/// The next call may begin no later than this from now: one a second is the smallest limit.
const GAP_MAX: Duration = Duration::from_secs(1);
const MICROSECONDS: i64 = 1_000_000;

/// What the whole fleet may do at most. Null: there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(as = DestinationLimits))]
pub struct FleetLimits {
    /// Calls that begin a second.
    #[cfg_attr(feature = "server", schema(example = 50))]
    pub per_second: Option<u32>,
    /// Calls in flight.
    #[cfg_attr(feature = "server", schema(example = 20))]
    pub in_flight: Option<u32>,
}

/// A change of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Remove,
    /// It is this one.
    Set(u32),
}

/// A change of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange {
    /// Of calls a second.
    pub per_second: LimitChange,
    /// Of calls in flight.
    pub in_flight: LimitChange,
}

/// How many calls may begin now.
#[derive(Debug)]
pub(in crate::outbox) struct Room {
    pub calls: usize,
    now: DateTime<Utc>,
    rate: Option<Rate>,
}

/// Calls a second, and when the next one may begin.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: i64,
    next: DateTime<Utc>,
}

impl FleetLimits {
    pub(in crate::outbox) fn of(row: &Model) -> Self {
        // Less than one would be a pause.
        let limit = |column: Option<i32>| column.map(|limit| u32::try_from(limit).unwrap_or(1).max(1));
        Self { per_second: limit(row.limit_per_second), in_flight: limit(row.limit_in_flight) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// For people, such as "5 calls a second and 3 in flight"; none without a limit.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        match (self.per_second, self.in_flight) {
            (None, None) => None,
            (Some(rate), None) => Some(format!("{rate} calls a second")),
            (None, Some(most)) => Some(format!("{most} calls in flight")),
            (Some(rate), Some(most)) => Some(format!("{rate} calls a second and {most} in flight")),
        }
    }

    fn changed_by(self, change: LimitsChange) -> Self {
        Self { per_second: change.per_second.of(self.per_second), in_flight: change.in_flight.of(self.in_flight) }
    }
}

impl LimitChange {
    fn of(self, before: Option<u32>) -> Option<u32> {
        match self {
            Self::Keep => before,
            Self::Remove => None,
            Self::Set(limit) => Some(limit),
        }
    }
}

impl Rate {
    /// As it is stored in `row`, at `now`.
    fn of(row: &Model, per_second: u32, now: DateTime<Utc>, skew: Duration) -> Self {
        // A time further ahead was stored by a wrong clock.
        let next = row.next_call_at.filter(|next| !is_beyond(now, *next, GAP_MAX + skew));
        let earliest = now - MADE_UP_FOR;
        Self { per_second: per_second.into(), next: next.map_or(earliest, |next| next.max(earliest)) }
    }

    /// How many calls may begin at `now`.
    fn calls(self, now: DateTime<Utc>) -> usize {
        let passed = (now - self.next).num_microseconds().unwrap_or(0);
        if passed < 0 { 0 } else { usize::try_from(passed * self.per_second / MICROSECONDS + 1).unwrap_or(usize::MAX) }
    }

    /// After so many calls have begun.
    fn after(self, calls: usize) -> Self {
        let calls = i64::try_from(calls).unwrap_or(i64::MAX);
        let taken = calls.saturating_mul(MICROSECONDS).saturating_add(self.per_second - 1) / self.per_second;
        Self { next: self.next + TimeDelta::microseconds(taken), ..self }
    }
}

impl Room {
    /// Waits for its turn among the claims for `name`, and counts how many calls may begin.
    pub(in crate::outbox) async fn of(
        txn: &DatabaseTransaction,
        clock: &Clock,
        name: &str,
    ) -> Result<Option<Self>, DbErr> {
        let Some(row) = Entity::find_by_id(name).lock_exclusive().one(txn).await? else { return Ok(None) };
        let limits = FleetLimits::of(&row);
        if limits.is_none() {
            return Ok(None);
        }
        // After the wait for the lock.
        let now = clock.now(txn).await?;
        let rate = limits.per_second.map(|per_second| Rate::of(&row, per_second, now, clock.skew()));
        let mut calls = rate.map_or(usize::MAX, |rate| rate.calls(now));
        if let Some(most) = limits.in_flight.filter(|_| calls > 0) {
            calls = calls
                .min(usize::try_from(u64::from(most).saturating_sub(in_flight(txn, name, now).await?)).unwrap_or(0));
        }
        Ok(Some(Self { calls, now, rate }))
    }

    /// When they were counted.
    pub(in crate::outbox) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// So many calls begin.
    pub(in crate::outbox) async fn take(
        &mut self,
        txn: &DatabaseTransaction,
        name: &str,
        calls: usize,
    ) -> Result<(), DbErr> {
        self.rate = self.rate.map(|rate| rate.after(calls));
        // Without a rate, too: the lock of the row is one of this server alone, and where there are several, of two claims that have
        // counted the same calls in flight only one can change the row.
        let next = self.rate.map_or(self.now, |rate| rate.next);
        let next = ActiveModel { next_call_at: Set(Some(next)), ..Default::default() };
        Entity::update_many().set(next).filter(Column::Name.eq(name)).exec(txn).await.map(drop)
    }

    /// How long no further call may begin, as far as is known: when one in flight ends is not.
    pub(in crate::outbox) fn wait(&self) -> Duration {
        self.rate.and_then(|rate| (rate.next - self.now).to_std().ok()).unwrap_or_default()
    }
}

/// Leases of events for `name` that have not ended.
async fn in_flight(txn: &DatabaseTransaction, name: &str, now: DateTime<Utc>) -> Result<u64, DbErr> {
    leased(name, now).count(txn).await
}

/// The same, counted up to `most`.
pub(in crate::outbox) async fn in_flight_up_to(
    txn: &DatabaseTransaction,
    name: &str,
    now: DateTime<Utc>,
    most: u64,
) -> Result<u64, DbErr> {
    // The subquery of a limited count.
    leased(name, now).limit(most).count(txn).await
}

fn leased(name: &str, now: DateTime<Utc>) -> Select<outbox_event::Entity> {
    outbox_event::Entity::find()
        .filter(status_in(&[EventStatus::Leased]))
        .filter(outbox_event::Column::LeasedUntil.gt(now))
        .filter(outbox_event::Column::Destination.eq(name))
}

/// Changes the limits of `name`. Returns those before and those that are in force now, if there is such a destination. The next claim
/// of each worker keeps them.
///
/// # Errors
/// Any database error.
pub async fn set_limits(
    txn: &DatabaseTransaction,
    name: &str,
    change: LimitsChange,
    now: DateTime<Utc>,
) -> Result<Option<(FleetLimits, FleetLimits)>, DbErr> {
    let Some(row) = Entity::find_by_id(name).lock_exclusive().one(txn).await? else { return Ok(None) };
    let before = FleetLimits::of(&row);
    let limits = before.changed_by(change);
    if limits == before {
        return Ok(Some((before, limits)));
    }
    let Model { not_before, probe_at, .. } = without_wrong_clocks(row, now);
    let integer = |limit: Option<u32>| limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
    let change = ActiveModel {
        limit_per_second: Set(integer(limits.per_second)),
        limit_in_flight: Set(integer(limits.in_flight)),
        next_call_at: Set(limits.per_second.map(|_| now)),
        not_before: Set(not_before),
        probe_at: Set(probe_at),
        updated_at: Set(now),
        ..Default::default()
    };
    Entity::update_many().set(change).filter(Column::Name.eq(name)).exec(txn).await?;
    Ok(Some((before, limits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_a_second_are_kept_over_any_ten_seconds_whenever_claims_come() {
        for (per_second, claims_every) in [(1, 300), (5, 130), (50, 90), (500, 240), (3_000, 7)] {
            let zero = DateTime::<Utc>::UNIX_EPOCH;
            let mut rate = Rate { per_second, next: zero };
            let mut begun = Vec::new();
            for step in 0..30_000 / claims_every {
                let now = zero + TimeDelta::milliseconds(step * claims_every);
                rate.next = rate.next.max(now - MADE_UP_FOR);
                let calls = rate.calls(now);
                begun.extend(std::iter::repeat_n(step * claims_every, calls));
                rate = rate.after(calls);
            }
            // They are in order, so those of ten seconds follow each other.
            let ten_seconds = |(first, from): (usize, &i64)| begun.partition_point(|at| *at < from + 10_000) - first;
            let most = begun.iter().enumerate().map(ten_seconds).max();
            let allowed = usize::try_from(10 * per_second).expect("a small number");
            let most = most.expect("calls");
            assert!(most <= allowed + allowed.div_ceil(40) + 1, "{most} of {per_second} a second");
            assert!(begun.len() >= allowed * 3 - allowed.div_ceil(4), "{} of {per_second} a second", begun.len());
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let before = FleetLimits { per_second: Some(5), in_flight: Some(3) };
        assert_eq!(before.changed_by(LimitsChange::default()), before);
        let change = LimitsChange { per_second: LimitChange::Remove, in_flight: LimitChange::Keep };
        assert_eq!(before.changed_by(change), FleetLimits { per_second: None, in_flight: Some(3) });
        assert_eq!(before.in_words().as_deref(), Some("5 calls a second and 3 in flight"));
    }
}
