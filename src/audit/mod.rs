//! Checks whether the promises are kept. [`audit`] compares the tables with each other, [`audit_remote`] compares the fee
//! records with the fee server's own list, `audit_kafka` compares the outbox with Kafka's topics. [`watch`] is what the fleet does at each tick: it checks what has changed, and a
//! piece of all the rest.
//!
//! The tables are read in slices (`slice`), so that no snapshot stays open for long. A violation is looked for once more in
//! a later snapshot, at the primary, before anybody gets to know it.
//!
//! A dead event breaks no promise: an operator sees it and can retry it. What retention deletes is not missed: a delivered
//! event is not needed once its fee record exists, and the event that voided the fee of a cancelled quote is required only
//! as long as retention keeps it.

mod checks;
mod found;
mod future_times;
#[cfg(feature = "kafka")]
mod kafka;
mod kafka_report;
mod pages;
mod place;
mod remote;
mod run;
mod scope;
mod slice;
mod status;
mod watch;

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, sea_query::SelectStatement};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    database::{Database, StaleReads},
    outbox,
    settings::Strategy,
};

pub use found::KnownViolation;
pub use future_times::FutureTimes;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaAuditError, audit_kafka};
pub use kafka_report::{KafkaProgress, KafkaReport};
pub use remote::{RemoteAuditError, audit_remote};
pub(crate) use run::request;
pub use run::{Occasion, is_requested, run};
pub use scope::Scope;
pub use slice::{Checker, Slice};
pub use status::{AuditStatus, LastAudit, PromiseStatus, last_audit, status};
pub use watch::{Limits, Watched, watch};

/// Its name among the fleet's jobs. `/metrics` reads the last result under this name.
pub const JOB: &str = "audit";

/// The most events whose times lie ahead that are violations of their own.
const DELAYED_MAX: u64 = 10_000;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Its number in `docs/delivery.md`.
    pub promise: u8,
    /// Whose fee is at stake.
    pub quote_id: Uuid,
    /// The name of the check that found it.
    pub check: &'static str,
    /// What is wrong, for people.
    pub sentence: String,
}

/// The names of the checks whose violations the fleet keeps.
#[must_use]
pub fn check_names() -> Vec<&'static str> {
    checks::names().chain([future_times::CHECK]).collect()
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
    /// A replica was read: what was committed later than this, by the database's clock, may not have been checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
}

/// A promise that a strategy does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotPromised {
    /// Its number.
    pub promise: u8,
    /// How the strategy breaks it.
    pub why: &'static str,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Quotes that were checked.
    pub checked: u64,
    /// The last one's place: all ids up to here were checked. `None` if all were.
    pub through: Option<Uuid>,
}

/// Looks for broken promises, slice by slice, and passes each violation to `found`: memory stays bounded by one slice of
/// them. `delivered_for` is how long retention keeps settled events. It only reads.
///
/// # Errors
/// Any database error; then the audit has no result.
pub async fn audit(db: &Database, delivered_for: Duration, found: impl FnMut(Violation)) -> Result<Report, DbErr> {
    audit_showing(&StaleReads::of(db), delivered_for, found, |_| ()).await
}

/// The same of a replica, if there is one, with a call of `progress` after each slice. What a replica shows as a violation is looked
/// for at the primary before it counts.
///
/// # Errors
/// Those of [`audit`].
pub async fn audit_showing(
    reads: &StaleReads,
    delivered_for: Duration,
    mut found: impl FnMut(Violation),
    mut progress: impl FnMut(Progress),
) -> Result<Report, DbErr> {
    let db = reads.primary();
    let (ahead, delayed) = future(db).await?;
    let mut report = Report { ahead, ..Report::new(db.now(db.connection()).await?) };
    let mut tell = |report: &mut Report, violation: Violation| {
        report.count(&violation);
        found(violation);
    };
    for violation in delayed {
        tell(&mut report, violation);
    }
    let (mut checker, mut after) = (Checker::new(reads.clone(), delivered_for, slice::ROWS_MAX), Uuid::nil());
    loop {
        let slice = checker.following(after).await?;
        report.checked += slice.quotes;
        report.as_of = [report.as_of, slice.as_of].into_iter().flatten().min();
        let through = slice.scope.through();
        for violation in slice.violations {
            tell(&mut report, violation);
        }
        progress(Progress { checked: report.checked, through });
        let Some(through) = through else { return Ok(report) };
        after = through;
    }
}

/// How many violations are known of all audits of the fleet.
///
/// # Errors
/// Any database error.
pub async fn violations(db: &Database) -> Result<u64, DbErr> {
    found::count(db.connection()).await
}

/// What lies in the future, and the events that wait for it.
async fn future(db: &Database) -> Result<(FutureTimes, Vec<Violation>), DbErr> {
    let txn = db.snapshot().await?;
    let at = db.now(&*txn).await?;
    Ok((future_times::find(&*txn, at).await?, delayed(&*txn, at).await?))
}

async fn delayed(db: &impl ConnectionTrait, at: DateTime<Utc>) -> Result<Vec<Violation>, DbErr> {
    let delayed = outbox::delayed_by_future_times(db, at, DELAYED_MAX).await?;
    Ok(delayed.into_iter().map(|(event, quote_id)| future_times::delayed(event, quote_id)).collect())
}

/// The queries of an audit of up to `rows` quotes after id `after`, and of these quotes. Public so that tests can read their
/// plans.
#[must_use]
pub fn queries(kept_since: DateTime<Utc>, after: Uuid, through: Uuid, rows: u64, ids: &[Uuid]) -> Vec<SelectStatement> {
    let scopes = [Scope::Between { after, through: Some(through) }, Scope::These(ids.to_vec())];
    let checks = checks::all(kept_since);
    let checks = scopes.iter().flat_map(|scope| checks.iter().map(|check| check.query(scope)));
    checks.chain(scope::ends(after, rows)).collect()
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
        Self { checked: 0, violations: 0, by_promise: BTreeMap::new(), at, ahead: FutureTimes::default(), as_of: None }
    }

    fn count(&mut self, violation: &Violation) {
        self.violations += 1;
        *self.by_promise.entry(violation.promise).or_default() += 1;
    }
}
