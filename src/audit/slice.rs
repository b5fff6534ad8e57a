//! A slice: some quotes, and all that is theirs, in one consistent read.
//!
//! A snapshot that stays open for long keeps `PostgreSQL` from vacuuming the outbox, and a replica from following. So each
//! slice has a snapshot of its own, and takes a fraction of a second whatever the size of the tables: the next one has as
//! many rows as fit, by how long the last one took.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use entity::quote::{Column as QuoteColumn, Entity as Quote};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter};
use uuid::Uuid;

use super::{Violation, checks, scope::Scope};
use crate::{
    database::{Database, StaleReads},
    outbox,
    printable::chain,
};

/// How long a slice should take: well below the second that it may.
const TARGET: Duration = Duration::from_millis(200);
/// The rows of the first slice.
const ROWS_FIRST: u64 = 500;
/// The most rows of a slice, so that its violations fit into memory.
pub(super) const ROWS_MAX: u64 = 10_000;

/// What a check of some quotes found.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Which.
    pub scope: Scope,
    /// How many quotes there were.
    pub quotes: u64,
    /// What two reads found, one after the other, the second one at the primary.
    pub violations: Vec<Violation>,
    /// The first read was of a replica, whose state has what was committed by then: a violation that it did not see may be newer.
    pub as_of: Option<DateTime<Utc>>,
}

/// What one read found.
struct Seen {
    scope: Scope,
    quotes: u64,
    suspected: Vec<Violation>,
}

/// Quotes that are to be checked.
enum Wanted {
    /// After an id, up to another.
    Following(Uuid, Option<Uuid>),
    These(Vec<Uuid>),
}

/// Checks quotes, some at a time.
#[derive(Clone, Debug)]
pub struct Checker {
    reads: StaleReads,
    /// How long retention keeps settled events.
    delivered_for: Duration,
    rows: u64,
    rows_max: u64,
}

impl Checker {
    /// At most `rows_max` quotes at a time. `delivered_for` is how long retention keeps settled events.
    #[must_use]
    pub fn new(reads: impl Into<StaleReads>, delivered_for: Duration, rows_max: u64) -> Self {
        let rows_max = rows_max.clamp(1, ROWS_MAX);
        Self { reads: reads.into(), delivered_for, rows: ROWS_FIRST.min(rows_max), rows_max }
    }

    /// How many rows fit into a slice now.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Checks the quotes that follow the id `after`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn following(&mut self, after: Uuid) -> Result<Slice, DbErr> {
        self.following_up_to(after, None).await
    }

    /// The same, but none after the id `end`.
    pub(super) async fn following_up_to(&mut self, after: Uuid, end: Option<Uuid>) -> Result<Slice, DbErr> {
        self.check(Wanted::Following(after, end)).await
    }

    /// Checks these quotes.
    ///
    /// # Errors
    /// Any database error.
    pub async fn these(&mut self, ids: Vec<Uuid>) -> Result<Slice, DbErr> {
        self.check(Wanted::These(ids)).await
    }

    /// Checks these quotes as the primary has them.
    pub(super) async fn these_now(&mut self, ids: Vec<Uuid>) -> Result<Slice, DbErr> {
        self.check_at_primary(&Wanted::These(ids)).await
    }

    async fn check(&mut self, wanted: Wanted) -> Result<Slice, DbErr> {
        let reads = self.reads.clone();
        let Some(replica) = reads.replica(Duration::MAX).await else { return self.check_at_primary(&wanted).await };
        match self.see(&replica.db, &wanted).await {
            Ok(seen) => self.slice(seen, Some(replica.as_of)).await,
            Err(error) => {
                reads.failed(&chain(&error));
                self.check_at_primary(&wanted).await
            }
        }
    }

    async fn check_at_primary(&mut self, wanted: &Wanted) -> Result<Slice, DbErr> {
        let primary = self.reads.primary().clone();
        let seen = self.see(&primary, wanted).await?;
        self.slice(seen, None).await
    }

    async fn see(&mut self, db: &Database, wanted: &Wanted) -> Result<Seen, DbErr> {
        let (begun, txn) = (Instant::now(), db.snapshot().await?);
        let scope = match wanted {
            Wanted::Following(after, end) => Scope::following(&*txn, *after, self.rows, *end).await?,
            Wanted::These(ids) => Scope::These(ids.clone()),
        };
        let quotes = Quote::find().filter(scope.condition(QuoteColumn::Id)).count(&*txn).await?;
        let suspected = self.violations(&*txn, &scope).await?;
        drop(txn);
        self.rows = next_rows(self.rows, begun.elapsed()).min(self.rows_max);
        Ok(Seen { scope, quotes, suspected })
    }

    async fn slice(&self, seen: Seen, as_of: Option<DateTime<Utc>>) -> Result<Slice, DbErr> {
        let Seen { scope, quotes, suspected } = seen;
        let violations = self.confirmed(&scope, suspected).await?;
        Ok(Slice { scope, quotes, violations, as_of })
    }

    /// What one read of these quotes finds at the primary.
    ///
    /// # Errors
    /// Any database error.
    pub async fn suspected(&self, scope: &Scope) -> Result<Vec<Violation>, DbErr> {
        let txn = self.reads.primary().snapshot().await?;
        self.violations(&*txn, scope).await
    }

    /// Those of `suspected` that another read finds again, at the primary: a replica may not have yet what keeps a promise.
    ///
    /// # Errors
    /// Any database error.
    pub async fn confirmed(&self, scope: &Scope, suspected: Vec<Violation>) -> Result<Vec<Violation>, DbErr> {
        if suspected.is_empty() {
            return Ok(suspected);
        }
        let mut again = self.suspected(scope).await?;
        again.sort_unstable();
        Ok(suspected.into_iter().filter(|violation| again.binary_search(violation).is_ok()).collect())
    }

    async fn violations(&self, db: &impl ConnectionTrait, scope: &Scope) -> Result<Vec<Violation>, DbErr> {
        let at = self.reads.primary().now(db).await?;
        let mut violations = Vec::new();
        for check in checks::all(kept_since(db, self.delivered_for, at).await?) {
            violations.extend(check.violations(db, scope).await?);
        }
        Ok(violations)
    }
}

/// Events that were settled before this time may have been deleted, as of `at`.
pub(super) async fn kept_since(
    db: &impl ConnectionTrait,
    delivered_for: Duration,
    at: DateTime<Utc>,
) -> Result<DateTime<Utc>, DbErr> {
    let kept_since = TimeDelta::from_std(delivered_for).ok().and_then(|kept| at.checked_sub_signed(kept));
    // What another setting or another process pruned is not missed either.
    let kept_since = kept_since.max(outbox::pruned_before(db).await?.map(|pruned| pruned.min(at)));
    Ok(kept_since.unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// How many rows the next slice has, after one of `rows` took so long: it grows slowly and shrinks at once.
fn next_rows(rows: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let fitting = rows.saturating_mul(u64::try_from(TARGET.as_micros()).unwrap_or(u64::MAX)) / micros;
    fitting.clamp(1, rows.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_as_many_rows_as_fit_into_its_time() {
        assert_eq!(next_rows(500, Duration::from_millis(1)), 1_000, "it grows slowly");
        assert_eq!(next_rows(500, TARGET), 500);
        assert_eq!(next_rows(10_000, 10 * TARGET), 1_000, "it shrinks at once");
        assert_eq!(next_rows(1, Duration::from_hours(1)), 1, "there is always one");
        assert_eq!(next_rows(500, Duration::ZERO), 1_000);
    }
}
