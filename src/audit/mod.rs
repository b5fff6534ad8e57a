//! Checks whether the promises are kept. [`audit`] compares the tables with each other, [`audit_remote`] compares the fee
//! records with the fee server's own list.
//!
//! A dead event breaks no promise: an operator sees it and can retry it. What retention deletes is not missed: a delivered
//! event is not needed once its fee record exists, and the event that voided the fee of a cancelled quote is required only
//! as long as retention keeps it.

mod checks;
mod future_times;
mod pages;
mod remote;

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use entity::quote;
use sea_orm::{DbErr, EntityTrait, PaginatorTrait, sea_query::SelectStatement};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    database::{Database, DatabaseTransaction},
    outbox,
    settings::Strategy,
};

pub use future_times::FutureTimes;
pub use remote::{RemoteAuditError, audit_remote};

/// Its name among the fleet's jobs. `/metrics` reads the last result under this name.
pub const JOB: &str = "audit";

/// Violations per page, a few hundred bytes each.
const PAGE_SIZE: u64 = 10_000;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Its number in `docs/delivery.md`.
    pub promise: u8,
    /// Whose fee is at stake.
    pub quote_id: Uuid,
    /// What is wrong, for people.
    pub sentence: String,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Quotes, or fees of the fee server, that were checked.
    pub checked: u64,
    /// Broken promises.
    pub violations: u64,
    /// Violations by the promise's number.
    pub by_promise: BTreeMap<u8, u64>,
    /// The database's time of the audit.
    pub at: DateTime<Utc>,
    /// Rows with times in the future. They break no promise, but a clock is, or was, wrong.
    pub ahead: FutureTimes,
}

/// A promise that a strategy does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotPromised {
    /// Its number.
    pub promise: u8,
    /// How the strategy breaks it.
    pub why: &'static str,
}

/// Looks for broken promises in one consistent read, and passes each violation to `found`: memory stays bounded by one page
/// of them. `delivered_for` is how long retention keeps settled events.
///
/// # Errors
/// Any database error; then the audit has no result.
pub async fn audit(db: &Database, delivered_for: Duration, mut found: impl FnMut(Violation)) -> Result<Report, DbErr> {
    let txn = db.snapshot().await?;
    let at = db.now(&*txn).await?;
    let kept_since = TimeDelta::from_std(delivered_for).ok().and_then(|kept| at.checked_sub_signed(kept));
    // What another setting or another process pruned is not missed either.
    let kept_since = kept_since.max(outbox::pruned_before(&*txn).await?.map(|pruned| pruned.min(at)));
    let mut report = Report::new(at);
    report.ahead = future_times::find(&*txn, at).await?;
    for (event, quote_id) in outbox::delayed_by_future_times(&*txn, at, PAGE_SIZE).await? {
        let violation = future_times::delayed(event, quote_id);
        report.count(&violation);
        found(violation);
    }
    report.checked = quote::Entity::find().count(&*txn).await?;
    for check in checks::all(kept_since.unwrap_or(DateTime::<Utc>::MIN_UTC)) {
        run(&txn, &check, |violation| {
            report.count(&violation);
            found(violation);
        })
        .await?;
    }
    Ok(report)
}

/// The queries of an audit for rows after row `after`. Public so that tests can read their plans.
#[must_use]
pub fn queries(kept_since: DateTime<Utc>, after: Uuid, limit: u64) -> Vec<SelectStatement> {
    checks::all(kept_since).iter().map(|check| check.query(after, limit)).collect()
}

async fn run(txn: &DatabaseTransaction, check: &checks::Check, mut found: impl FnMut(Violation)) -> Result<(), DbErr> {
    let mut after = Uuid::nil();
    loop {
        let page = check.page(txn, after, PAGE_SIZE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (id, quote_id) in page {
            found(check.violation(id, quote_id));
        }
    }
}

/// The promises that `strategy` breaks on purpose. Violations of them are counted as well.
#[must_use]
pub fn not_promised(strategy: Strategy) -> &'static [NotPromised] {
    match strategy {
        Strategy::Outbox => &[],
        Strategy::InTransaction => &[GHOSTS, WAITS],
        Strategy::BeforeCommitAsync => &[LOST, GHOSTS],
        Strategy::AfterCommit => &[LOST],
    }
}

const LOST: NotPromised =
    NotPromised { promise: 2, why: "a crash before the answer is stored loses it: no table says that a call is due" };
const GHOSTS: NotPromised = NotPromised {
    promise: 4,
    why: "a rollback after the call leaves a fee or record for a quote that was never stored",
};
const WAITS: NotPromised =
    NotPromised { promise: 8, why: "the submission waits for the destination, and fails or slows down with it" };

impl Report {
    fn new(at: DateTime<Utc>) -> Self {
        Self { checked: 0, violations: 0, by_promise: BTreeMap::new(), at, ahead: FutureTimes::default() }
    }

    fn count(&mut self, violation: &Violation) {
        self.violations += 1;
        *self.by_promise.entry(violation.promise).or_default() += 1;
    }
}
