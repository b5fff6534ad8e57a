//! The second watchman: are the promises kept? [`audit`] holds the tables against each other, [`audit_remote`] holds the
//! fee records against the fee server's own list.
//!
//! A dead event breaks no promise: an operator sees it and can retry it. What retention deletes is missed nowhere: a
//! delivered event is not needed once its fee record is there, and the event that voided the fee of a cancelled quote is
//! asked for only as long as retention keeps it.

mod ahead;
mod checks;
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

pub use ahead::Ahead;
pub use remote::{RemoteAuditError, audit_remote};

/// Its name among the fleet's jobs, under which `/metrics` finds what the last audit found.
pub const JOB: &str = "audit";

/// Violations read at once: a few hundred bytes each, whatever the number of quotes.
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
    /// Quotes, or fees of the fee server, that were looked at.
    pub checked: u64,
    /// Broken promises.
    pub violations: u64,
    /// The same by the promise's number.
    pub by_promise: BTreeMap<u8, u64>,
    /// The database's time of the audit.
    pub at: DateTime<Utc>,
    /// What is dated in the future. It breaks no promise, but a clock is, or was, wrong.
    pub ahead: Ahead,
}

/// A promise that a strategy does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotPromised {
    /// Its number.
    pub promise: u8,
    /// How the strategy comes to break it.
    pub why: &'static str,
}

/// Looks for broken promises in one consistent read, and hands each violation over as it is found: memory stays bounded
/// by a page of them. `delivered_for` is how long retention keeps settled events.
///
/// # Errors
/// What the database answers; then the audit is worth nothing.
pub async fn audit(db: &Database, delivered_for: Duration, mut found: impl FnMut(Violation)) -> Result<Report, DbErr> {
    let txn = db.snapshot().await?;
    let at = db.now(&*txn).await?;
    let kept_since = TimeDelta::from_std(delivered_for).ok().and_then(|kept| at.checked_sub_signed(kept));
    // What was pruned by another setting, or by another process, is not missed either.
    let kept_since = kept_since.max(outbox::pruned_before(&*txn).await?.map(|pruned| pruned.min(at)));
    let mut report = Report::new(at);
    report.ahead = ahead::find(&*txn, at).await?;
    for (event, quote_id) in outbox::held_up_by_a_clock(&*txn, at, PAGE_SIZE).await? {
        let violation = ahead::held_up(event, quote_id);
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

/// The questions of an audit about rows behind row `behind`. Public so that databases can be asked for their plans.
#[must_use]
pub fn questions(kept_since: DateTime<Utc>, behind: Uuid, limit: u64) -> Vec<SelectStatement> {
    checks::all(kept_since).iter().map(|check| check.question(behind, limit)).collect()
}

async fn run(txn: &DatabaseTransaction, check: &checks::Check, mut found: impl FnMut(Violation)) -> Result<(), DbErr> {
    let mut behind = Uuid::nil();
    loop {
        let page = check.page(txn, behind, PAGE_SIZE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        behind = *last;
        for (id, quote_id) in page {
            found(check.violation(id, quote_id));
        }
    }
}

/// The promises that `strategy` breaks on purpose; violations of them are counted all the same.
#[must_use]
pub fn not_promised(strategy: Strategy) -> &'static [NotPromised] {
    match strategy {
        Strategy::Outbox => &[],
        Strategy::InTransaction => &[GHOSTS, WAITS],
        Strategy::BeforeCommitAsync => &[LOST, GHOSTS],
        Strategy::AfterCommit => &[LOST],
    }
}

const LOST: NotPromised = NotPromised {
    promise: 2,
    why: "a crash before the answer is stored loses it: that a call is to be made stands in no table",
};
const GHOSTS: NotPromised = NotPromised {
    promise: 4,
    why: "a rollback after the call leaves a fee or record for a quote that was never stored",
};
const WAITS: NotPromised =
    NotPromised { promise: 8, why: "the submission waits for the destination, and fails or slows down with it" };

impl Report {
    fn new(at: DateTime<Utc>) -> Self {
        Self { checked: 0, violations: 0, by_promise: BTreeMap::new(), at, ahead: Ahead::default() }
    }

    fn count(&mut self, violation: &Violation) {
        self.violations += 1;
        *self.by_promise.entry(violation.promise).or_default() += 1;
    }
}
