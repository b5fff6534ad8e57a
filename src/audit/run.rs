//! The runs of the fleet's audit, of which there is one at a time: by schedule, or because an operator asks for it.
//!
//! A request is kept in the database, and any process that delivers answers it. A run says again and again that it goes on; where its
//! process dies, another one takes an unanswered request a minute later.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use entity::{
    audit_run::{ActiveModel, Column, Entity, Model},
    schedule,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, UpdateMany};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{JOB, Limits, Violation, Watched, watch};
use crate::{
    clock::{SKEW_MAX, after},
    database::{Database, DatabaseTransaction, StaleReads},
};

/// The only row.
const NAME: &str = "audit";
/// How often a run says that it goes on.
const BEAT: Duration = Duration::from_secs(15);
/// A run that has not said so for as long was left by its process.
const SILENT_MAX: Duration = Duration::from_mins(1);

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its schedule.
    Schedule,
    /// An operator's request; without one there is no run.
    Request,
}

/// Asks for a run in the name of `by`. Returns false if one is under way, or was asked for already: it is not begun twice.
///
/// # Errors
/// Any database error.
pub(crate) async fn request(txn: &DatabaseTransaction, by: &str, now: DateTime<Utc>) -> Result<bool, DbErr> {
    let request = ActiveModel {
        requested_at: Set(Some(now)),
        requested_by: Set(Some(by.chars().take(128).collect())),
        ..Default::default()
    };
    let requested = update(request).filter(Column::RequestedAt.is_null()).filter(no_run_is_under_way(now));
    Ok(requested.exec(txn).await?.rows_affected > 0)
}

/// Whether a request waits for a process that answers it.
///
/// # Errors
/// Any database error.
pub async fn is_requested(db: &Database) -> Result<bool, DbErr> {
    let Some(row) = read(db.connection()).await? else { return Ok(false) };
    // The time is asked for only where it matters.
    Ok(row.requested_at.is_some() && (row.began_at.is_none() || !is_under_way(&row, db.now(db.connection()).await?)))
}

/// Runs the audit once in the name of `process`, unless another run is under way; `None` if there was none. A run that was
/// asked for checks all quotes, as far as it comes in ten minutes. At `drain` it stops, and another process goes on.
///
/// # Errors
/// Any database error. A request is answered a minute later then.
pub async fn run(
    reads: impl Into<StaleReads>,
    process: &str,
    occasion: Occasion,
    delivered_for: Duration,
    drain: &CancellationToken,
    tell: impl FnMut(&Violation) + Send,
) -> Result<Option<Watched>, DbErr> {
    let reads = reads.into();
    let db = reads.primary();
    let Some((began_at, is_requested)) = begin(db, process, occasion).await? else { return Ok(None) };
    let begun = Instant::now();
    let limits = if is_requested { Limits::OF_A_REQUEST } else { Limits::default() };
    let watched = tokio::select! {
        watched = watch(reads.clone(), delivered_for, limits, tell) => watched?,
        never = beat(db, process) => match never {},
        () = drain.cancelled() => {
            // A request stays.
            update(no_run()).filter(Column::RunBy.eq(process)).exec(db.connection()).await?;
            return Ok(None);
        }
    };
    // Crash here: all that was found is stored, and a request is answered once more.
    let integer = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    let ended = ActiveModel {
        requested_at: Set(None),
        requested_by: Set(None),
        last_at: Set(Some(began_at)),
        last_took_ms: Set(integer(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))),
        last_changed: Set(integer(watched.changed)),
        last_quotes: Set(integer(watched.quotes)),
        last_violations: Set(integer(watched.violations)),
        ..no_run()
    };
    update(ended).filter(Column::RunBy.eq(process)).exec(db.connection()).await?;
    let shown = schedule::ActiveModel { last_count: Set(integer(watched.violations)), ..Default::default() };
    schedule::Entity::update_many().set(shown).filter(schedule::Column::Name.eq(JOB)).exec(db.connection()).await?;
    Ok(Some(watched))
}

/// When this run began, and whether an operator asked for it.
async fn begin(db: &Database, process: &str, occasion: Occasion) -> Result<Option<(DateTime<Utc>, bool)>, DbErr> {
    let now = db.now(db.connection()).await?;
    let run = ActiveModel {
        began_at: Set(Some(now)),
        seen_at: Set(Some(now)),
        run_by: Set(Some(process.into())),
        ..Default::default()
    };
    let mut begin = update(run).filter(no_run_is_under_way(now));
    if occasion == Occasion::Request {
        begin = begin.filter(Column::RequestedAt.is_not_null());
    }
    if begin.exec(db.connection()).await?.rows_affected == 0 {
        return Ok(None);
    }
    let row = read(db.connection()).await?;
    Ok(Some((now, row.is_some_and(|row| row.requested_at.is_some()))))
}

async fn beat(db: &Database, process: &str) -> Infallible {
    loop {
        sleep(BEAT).await;
        let seen = async {
            let seen = ActiveModel { seen_at: Set(Some(db.now(db.connection()).await?)), ..Default::default() };
            update(seen).filter(Column::RunBy.eq(process)).exec(db.connection()).await
        };
        if let Err(error) = seen.await {
            tracing::debug!(%error, "could not say that the audit goes on");
        }
    }
}

fn no_run() -> ActiveModel {
    ActiveModel { began_at: Set(None), seen_at: Set(None), run_by: Set(None), ..Default::default() }
}

fn update(to: ActiveModel) -> UpdateMany<Entity> {
    Entity::update_many().set(to).filter(Column::Name.eq(NAME))
}

fn no_run_is_under_way(now: DateTime<Utc>) -> Condition {
    Condition::any()
        .add(Column::BeganAt.is_null())
        .add(Column::SeenAt.lt(now - SILENT_MAX))
        // By a clock that ran ahead.
        .add(Column::SeenAt.gt(after(now, SKEW_MAX)))
}

/// Whether this run goes on.
pub(super) fn is_under_way(row: &Model, now: DateTime<Utc>) -> bool {
    let goes_on = |seen: DateTime<Utc>| seen >= now - SILENT_MAX && seen <= after(now, SKEW_MAX);
    row.began_at.is_some() && row.seen_at.is_some_and(goes_on)
}

pub(super) async fn read(db: &impl ConnectionTrait) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(NAME).one(db).await
}
