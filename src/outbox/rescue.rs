//! Taking back events whose lease ran out: their worker died, froze or lost the database.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Model, Status};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{LockBehavior, LockType},
};

use super::{
    Attempt, Disposition, LeasedEvent, Outcome, Policy,
    cause::LEFT_NO_RESULT,
    claim::status_in,
    destinations::{Blame, callable_since},
    ended::{Ended, write_down},
    parking::unpark,
    unreadable::readable,
};
use crate::{
    clock::after,
    crash,
    database::{Database, DatabaseTransaction},
};

/// What a rescue took back.
#[derive(Debug, Default)]
pub struct Rescued {
    /// Attempts that left no result, and what their events became.
    pub ended: Vec<(Attempt<()>, Disposition)>,
    /// As many as were asked for: there may be more.
    pub is_full: bool,
}

/// Ends up to `limit` attempts that left no result before their lease ran out, longest overdue first. Their outcome is
/// unknown: the next attempt looks up before it sends. The first rescue makes an event due at once. Each further one waits
/// by the retry policy, which also gives it up in the end: so an event that kills its workers is soon retried alone.
///
/// It needs no elected process: every worker calls it at each run, and skips rows that another one has locked. The number of
/// statements does not depend on the number of leases, so it is fast on a distant database, too.
///
/// # Errors
/// Any database error; then nothing is changed.
pub async fn rescue(db: &Database, worker: &str, policy: &Policy, limit: usize) -> Result<Rescued, DbErr> {
    let rescued =
        db.transaction(|txn| Box::pin(async move { rescue_in(&txn, db, worker, policy, limit).await })).await?;
    if !rescued.ended.is_empty() {
        crash::point("after-rescue-commit");
    }
    Ok(rescued)
}

async fn rescue_in(
    txn: &DatabaseTransaction,
    db: &Database,
    worker: &str,
    policy: &Policy,
    limit: usize,
) -> Result<Rescued, DbErr> {
    let now = db.begun_at(txn);
    // The clock that the lease was written by may be that much behind ours: its holder may still be at work.
    let expired = readable(txn, expired(now - db.clock().skew(), limit as u64), now).await?.rows;
    if expired.is_empty() {
        return Ok(Rescued::default());
    }
    let is_full = expired.len() == limit;
    let callable_since = callable_since(txn, now).await?;
    let (mut ended, mut rows) = (Vec::with_capacity(expired.len()), Vec::with_capacity(expired.len()));
    for row in expired {
        let withdrawn = row.withdrawn;
        let mut attempt = left_without_result(row);
        let since = callable_since.get(attempt.event.destination.as_str()).copied();
        attempt.event = attempt.event.callable_since(since);
        let disposition = next(&attempt.event, withdrawn, policy, now);
        rows.push(Ended::new(&attempt, Blame::Event, &disposition, worker, now).without_token());
        ended.push((attempt, disposition));
    }
    write_down(txn, rows).await?;
    // What was withdrawn has ended, and holds back nothing any more. Few destinations, one statement each.
    let over = ended.iter().filter(|(_, disposition)| *disposition == Disposition::Cancelled);
    let mut over: Vec<_> =
        over.map(|(attempt, _)| (attempt.event.destination.clone(), attempt.event.aggregate_id)).collect();
    over.sort_unstable();
    for over in over.chunk_by(|one, next| one.0 == next.0) {
        unpark(txn, over[0].0.as_str(), over.iter().map(|(_, aggregate_id)| *aggregate_id), now).await?;
    }
    crash::point("before-rescue-commit");
    Ok(Rescued { ended, is_full })
}

/// The query of [`rescue`]: up to `limit` events whose lease ended before `now`, the longest ended first.
/// Public so that tests can read its query plan.
#[must_use]
pub fn expired(now: DateTime<Utc>, limit: u64) -> Select<Entity> {
    Entity::find()
        .filter(status_in(&[Status::Leased]))
        .filter(Column::LeasedUntil.lt(now))
        .order_by_asc(Column::LeasedUntil)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
}

fn left_without_result(row: Model) -> Attempt<()> {
    let holder = row.leased_by.as_deref().unwrap_or("a worker");
    let error = format!("{holder} {LEFT_NO_RESULT}");
    let (token, attempt) = (row.lease_token.unwrap_or_default(), row.attempts);
    let event = LeasedEvent::new(row, attempt, token, Instant::now(), false);
    Attempt { event, outcome: Outcome::Unknown(error), took: Duration::ZERO, is_overtaken: false }
}

fn next(event: &LeasedEvent, withdrawn: bool, policy: &Policy, now: DateTime<Utc>) -> Disposition {
    if withdrawn {
        return Disposition::Cancelled;
    }
    if let Some(why) = policy.retry.gives_up(event.attempt, event.failing_since(now), now) {
        return Disposition::Dead(why);
    }
    let wait = if event.attempt <= 1 { Duration::ZERO } else { policy.retry.delay(event.attempt - 1) };
    Disposition::Pending(after(now, wait))
}
