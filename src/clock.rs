//! The clock that decides what is due and which leases are valid.
//!
//! Invariant: due times and leases are compared on one clock. Hosts that share `PostgreSQL` or `MariaDB` may disagree about
//! the time, so there the database's clock decides. An `SQLite` file has one host, whose own clock stamps everything. In a Galera
//! cluster the clock of the node decides that runs the statement: these may differ by [`Clock::skew`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, sea_query::Expr};
use uuid::{ContextV7, Timestamp, Uuid};

/// No setting lets a lease, or the wait for a probe, last longer. A time further ahead was stored by a wrong clock.
pub const LEASE_MAX: Duration = Duration::from_hours(1);
/// No setting, no `Retry-After` and no operator lets an event or a destination wait longer.
pub const WAIT_MAX: Duration = Duration::from_hours(7 * 24);
/// The most that clocks which take over from each other may differ. What has happened lies no further ahead.
pub const SKEW_MAX: Duration = Duration::from_mins(1);

/// How far the clocks of a Galera cluster's nodes may differ.
const NODES_SKEW: Duration = Duration::from_secs(2);

/// The time, cut to microseconds: the precision that all three databases keep.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_microseconds: Arc<AtomicI64>,
    /// Each node of a Galera cluster has a clock of its own, and statements go to any of them.
    is_of_nodes: Arc<AtomicBool>,
}

impl Clock {
    /// The clock of a database that is found to have several, or not.
    pub(crate) fn of_nodes_if(is_of_nodes: Arc<AtomicBool>) -> Self {
        Self { is_of_nodes, ..Self::default() }
    }

    /// How far a time that another process has stored may be ahead of this clock, or behind it, though nothing is wrong. Nobody's lease
    /// is taken back so long after its end, for its holder's clock may be behind.
    #[must_use]
    pub fn skew(&self) -> Duration {
        if self.is_of_nodes.load(Ordering::Relaxed) { NODES_SKEW } else { Duration::ZERO }
    }

    /// The time now, by the database's clock where several hosts can share the database.
    ///
    /// # Errors
    /// Any database error.
    pub async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        let backend = db.get_database_backend();
        // `now()` would stay at the transaction's begin while we wait for a lock.
        let question = match backend {
            DbBackend::Postgres => "SELECT clock_timestamp() AS now",
            DbBackend::MySql => "SELECT UTC_TIMESTAMP(6) AS now",
            _ => return Ok(self.shift(Utc::now())),
        };
        let row = db.query_one_raw(Statement::from_string(backend, question)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("the database returned no time".into()))?;
        Ok(self.shift(row.try_get("", "now")?))
    }

    /// The same as an expression of `SQL`, evaluated when the statement runs.
    #[must_use]
    pub fn as_sql(&self, backend: DbBackend) -> Expr {
        let ahead = self.ahead_microseconds.load(Ordering::Relaxed);
        match backend {
            DbBackend::Postgres => Expr::cust(format!("(SELECT {})", self.postgres_now())),
            DbBackend::MySql => Expr::cust(format!("(UTC_TIMESTAMP(6) + INTERVAL {ahead} MICROSECOND)")),
            _ => Expr::val(self.shift(Utc::now())),
        }
    }

    /// The same in the words of `PostgreSQL`, for statements that are written by hand. Evaluated for each row.
    pub(crate) fn postgres_now(&self) -> String {
        let ahead = self.ahead_microseconds.load(Ordering::Relaxed);
        format!("clock_timestamp() + interval '{ahead} microseconds'")
    }

    /// Sets this clock ahead: tests do so instead of sleeping.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.ahead_microseconds.fetch_add(by, Ordering::Relaxed);
    }

    /// The time as this clock has it, whatever it was set ahead.
    pub(crate) fn shift(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let now = now + TimeDelta::microseconds(self.ahead_microseconds.load(Ordering::Relaxed));
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }
}

/// `now` plus `by`, at most the last time that there is.
#[must_use]
pub fn after(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| now.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether `at` lies further ahead of `now` than `range`, the longest that any setting of any process permits. Then it was
/// stored by a clock that ran ahead, and counts as due, or as over.
#[must_use]
pub fn is_beyond(now: DateTime<Utc>, at: DateTime<Utc>, range: Duration) -> bool {
    at > after(now, range)
}

/// `UUIDv7`s of the time `at`, each greater than the one before. With `at` from the database's clock, rows are sorted by
/// their ids as by their times, to the microsecond, whatever the host's clock.
pub fn ids(at: DateTime<Utc>) -> impl FnMut() -> Uuid {
    let context = ContextV7::new().with_additional_precision();
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    // A leap second has more nanoseconds than that.
    let nanoseconds = at.timestamp_subsec_nanos().min(999_999_999);
    move || Uuid::new_v7(Timestamp::from_unix(&context, seconds, nanoseconds))
}

/// The smallest `UUIDv7` of the time `at`: those of later times are all greater.
#[must_use]
pub fn first_id(at: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128((milliseconds << 80) | (7 << 76) | (0b10 << 62))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_as_the_times_they_are_made_of() {
        let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::microseconds(1_764_000_000_123_456);
        let mut made = vec![first_id(at)];
        for microseconds in [0, 1, 2, 998, 999, 1_000, 500_000] {
            let mut ids = ids(at + TimeDelta::microseconds(microseconds));
            made.extend((0..1_000).map(|_| ids()));
        }
        assert!(made.is_sorted_by(|one, next| one < next));
        assert!(made.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn only_what_no_setting_permits_is_beyond() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        assert!(!is_beyond(now, now + LEASE_MAX, LEASE_MAX));
        assert!(is_beyond(now, now + LEASE_MAX + Duration::from_micros(1), LEASE_MAX));
        assert!(!is_beyond(now, now - WAIT_MAX, LEASE_MAX));
    }
}
