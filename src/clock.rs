//! The time that decides: what is due, and whose lease holds.
//!
//! Invariant: due times and leases are compared on one clock. Hosts that share `PostgreSQL` or `MariaDB` may disagree about
//! the time, so there the database is asked; an `SQLite` file has one host, whose own clock stamps everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, sea_query::Expr};

/// Tells the time, cut to microseconds: the precision that all three databases keep.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_microseconds: Arc<AtomicI64>,
}

impl Clock {
    /// The time now, by the database's clock where several hosts can share the database.
    ///
    /// # Errors
    /// What the database answers when it cannot be asked.
    pub async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        let backend = db.get_database_backend();
        // `clock_timestamp()` and not `now()`, which stands still at the transaction's begin while we wait for a lock.
        let question = match backend {
            DbBackend::Postgres => "SELECT clock_timestamp() AS now",
            DbBackend::MySql => "SELECT UTC_TIMESTAMP(6) AS now",
            _ => return Ok(self.shift(Utc::now())),
        };
        let row = db.query_one_raw(Statement::from_string(backend, question)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("the database told no time".into()))?;
        Ok(self.shift(row.try_get("", "now")?))
    }

    /// The same as an expression of `SQL`, told when the statement runs.
    #[must_use]
    pub fn as_sql(&self, backend: DbBackend) -> Expr {
        let ahead = self.ahead_microseconds.load(Ordering::Relaxed);
        match backend {
            DbBackend::Postgres => Expr::cust(format!("(SELECT clock_timestamp() + interval '{ahead} microseconds')")),
            DbBackend::MySql => Expr::cust(format!("(UTC_TIMESTAMP(6) + INTERVAL {ahead} MICROSECOND)")),
            _ => Expr::val(self.shift(Utc::now())),
        }
    }

    /// Puts this clock ahead: tests travel in time with it instead of sleeping.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.ahead_microseconds.fetch_add(by, Ordering::Relaxed);
    }

    fn shift(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let now = now + TimeDelta::microseconds(self.ahead_microseconds.load(Ordering::Relaxed));
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }
}

/// `now` plus `by`, at the far end of time if that is further.
#[must_use]
pub fn after(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| now.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
