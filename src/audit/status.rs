//! What operators see of the audit: the promises, when each was last checked, and the violations that are known.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use entity::audit_run::Model;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use utoipa::ToSchema;

use super::{checks, found, found::KnownViolation, place::Place, run};
use crate::{database::Database, fleet};

/// The most violations that are listed.
const LISTED_MAX: u64 = 100;

/// The promises, by number, in a sentence each; `docs/delivery.md` says more.
const PROMISES: [&str; 10] = [
    "A quote and its events are stored in one transaction, or none of them is.",
    "No stored quote loses its fee.",
    "A quote has at most one fee record, and every attempt of an event carries the same key.",
    "Nothing that was rolled back or refused reaches a destination.",
    "Fee record, delivered event and confirmed quote commit together.",
    "Events of one quote for one destination are delivered in the order in which they were stored.",
    "A worker whose lease has run out changes nothing.",
    "Submission never waits for a destination, and never fails because of one.",
    "A quote that was answered with 201 is found by any process from then on.",
    "One bad quote, answer, row, caller or connection costs only itself.",
];
/// Checked by the times of events.
const BY_TIMES: u8 = 10;

/// The audit of the fleet.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub struct AuditStatus {
    /// Whether a check is under way, or waits for a worker that begins it.
    pub running: bool,
    /// Why a check that was asked for does not begin, and what to do.
    pub note: Option<String>,
    /// The last check that ended, if there was one.
    pub last_audit: Option<LastAudit>,
    /// When the pass over all quotes was last at its end.
    pub all_checked_at: Option<DateTime<Utc>>,
    /// All promises, by number.
    pub promises: Vec<PromiseStatus>,
    /// The violations that are known, the last found first, at most 100.
    pub violations: Vec<KnownViolation>,
    /// How many violations are known.
    pub total: u64,
}

/// A check of the promises that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastAudit {
    /// When it began.
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How many quotes it checked because they had changed since the check before, or had violations.
    pub changed: u64,
    /// How many quotes its pass over all quotes has checked, each once. A check by the schedule does a part of all; the next one
    /// goes on from there.
    pub quotes: u64,
    /// How many violations were known at its end.
    pub violations: u64,
}

/// A promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromiseStatus {
    /// Its number.
    pub number: u8,
    /// What is promised.
    pub promise: &'static str,
    /// When the last check began. Null if there was none, or if the promise leaves no trace in the tables: tests show those.
    pub checked_at: Option<DateTime<Utc>>,
    /// How many violations are known.
    pub violations: u64,
}

/// What is known.
///
/// # Errors
/// Any database error.
pub async fn status(db: &Database) -> Result<AuditStatus, DbErr> {
    let connection = db.connection();
    let (row, now) = (run::read(connection).await?, db.now(connection).await?);
    let is_under_way = row.as_ref().is_some_and(|row| run::is_under_way(row, now));
    let waits = !is_under_way && row.as_ref().is_some_and(|row| row.requested_at.is_some());
    let nobody = waits && fleet::workers_alive(connection, now).await? == 0;
    let last_audit = row.as_ref().and_then(LastAudit::of);
    let by_promise = found::by_promise(connection).await?;
    Ok(AuditStatus {
        running: is_under_way || waits,
        note: nobody
            .then(|| "No worker is alive; the check begins when one starts. Start one with `feebox worker`.".into()),
        last_audit,
        all_checked_at: Place::completed_at(connection, "all").await?,
        promises: promises(last_audit, &by_promise),
        violations: found::newest(connection, LISTED_MAX).await?,
        total: by_promise.values().sum(),
    })
}

/// The last check that ended.
///
/// # Errors
/// Any database error.
pub async fn last_audit(db: &impl ConnectionTrait) -> Result<Option<LastAudit>, DbErr> {
    Ok(run::read(db).await?.as_ref().and_then(LastAudit::of))
}

fn promises(last: Option<LastAudit>, by_promise: &BTreeMap<u8, u64>) -> Vec<PromiseStatus> {
    let checked = checks::promises();
    let promise = |(number, promise): (u8, &&'static str)| PromiseStatus {
        number,
        promise,
        checked_at: last.filter(|_| number == BY_TIMES || checked.contains(&number)).map(|last| last.at),
        violations: by_promise.get(&number).copied().unwrap_or(0),
    };
    (1..).zip(&PROMISES).map(promise).collect()
}

impl LastAudit {
    fn of(row: &Model) -> Option<Self> {
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Some(Self {
            at: row.last_at?,
            took_ms: count(row.last_took_ms),
            changed: count(row.last_changed),
            quotes: count(row.last_quotes),
            violations: count(row.last_violations),
        })
    }
}
