//! Writing down what attempts came to, guarded by their leases.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::outbox_event::{self, Column, Entity, Status};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Failure, LeasedEvent, Outcome, Policy, Receipt,
    claim::padded,
    failure::FAILURES_MAX,
    locked::locked,
    receipt::receipts,
    weather::{Blame, Weather},
};
use crate::clock::{Clock, after};
use crate::database::DatabaseTransaction;

/// How much of an error's text is kept, in characters.
const ERROR_LENGTH_MAX: usize = 500;

/// An attempt that ended.
#[derive(Debug)]
pub struct Attempt<R> {
    /// What was to be delivered.
    pub event: LeasedEvent,
    /// What it came to.
    pub outcome: Outcome<R>,
    /// How long it took.
    pub took: Duration,
}

impl<R> Attempt<R> {
    pub(super) fn took_ms(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

/// An attempt that was written down, or came too late for that, and what its event became.
pub type Settled<'a, R> = (&'a Attempt<R>, &'a Became);

/// What an event became by an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// The destination has it.
    Delivered,
    /// It is tried again then.
    Pending(DateTime<Utc>),
    /// It is given up, for this reason.
    Dead(String),
    /// It had been withdrawn meanwhile.
    Cancelled,
    /// Nothing: the lease was over and somebody else has it, or has settled it. Names who, as far as the row tells.
    Lost(String),
}

/// What settling came to.
#[derive(Debug)]
pub struct Settling {
    /// What each event became, in the order of the attempts.
    pub became: Vec<Became>,
    /// That makes others deliverable at once.
    pub frees: bool,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Settles `attempts` of one destination inside `txn`; what else belongs to a delivery is stored in the same one.
///
/// The rows are locked first and each is compared with the lease of its attempt: a late answer changes nothing, and
/// comes back as [`Became::Lost`] so that its effects are left out too.
///
/// # Errors
/// What the database answers.
pub async fn settle<R: Receipt>(
    txn: &DatabaseTransaction,
    clock: &Clock,
    destination: &str,
    worker: &str,
    policy: &Policy,
    attempts: &[Attempt<R>],
) -> Result<Settling, DbErr> {
    let rows = lock(txn, clock, destination, attempts.iter().map(|attempt| attempt.event.id)).await?;
    let (now, failures_counted) = match rows.values().next() {
        Some(row) => (row.now, row.failures_counted),
        None => (clock.now(txn).await?, false),
    };
    let mut weather = Weather::look(txn, destination, attempts, policy, now).await?;
    let mut settled = Vec::with_capacity(attempts.len());
    let (mut delivered, mut frees) = (Vec::new(), false);
    for attempt in attempts {
        let row = rows.get(&attempt.event.id);
        let Some(row) = row.filter(|row| row.lease_token == Some(attempt.event.lease_token)) else {
            // A late answer changes nothing about its destination either: it is old, and it may have been counted before.
            let holder = row.and_then(|row| row.leased_by.clone());
            settled.push(Became::Lost(holder.unwrap_or_else(|| "nobody any more".into())));
            continue;
        };
        let blame = weather.note(attempt);
        let became = next(attempt, row.withdrawn, blame, policy, now);
        frees |= match &became {
            Became::Delivered | Became::Cancelled => row.followed,
            Became::Pending(due_at) => *due_at <= now,
            Became::Dead(_) | Became::Lost(_) => false,
        };
        match &became {
            Became::Delivered => delivered.push(attempt),
            Became::Lost(_) => {}
            became => end_attempt(txn, attempt, blame, became, worker, now).await?,
        }
        settled.push(became);
    }
    mark_delivered(txn, &delivered, now).await?;
    weather.share(txn, destination, failures_counted).await?;
    Ok(Settling { became: settled, frees, at: now })
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    lease_token: Option<Uuid>,
    leased_by: Option<String>,
    withdrawn: bool,
    /// A later event of its quote waits for it.
    followed: bool,
    /// The fleet has counted failures of the destination, see [`gate::failures_counted`].
    failures_counted: bool,
    /// When it was read.
    now: DateTime<Utc>,
}

/// Locks the rows of `ids`, and asks along what else settling must know of `destination` and the time.
async fn lock(
    txn: &DatabaseTransaction,
    clock: &Clock,
    destination: &str,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Row>, DbErr> {
    let question = locked(destination, clock.as_sql(txn.get_database_backend()), ids);
    let rows: Vec<Row> = question.into_model().all(txn).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// What follows an attempt. Pure: everything that decides is an argument.
fn next<R>(attempt: &Attempt<R>, withdrawn: bool, blame: Blame, policy: &Policy, now: DateTime<Utc>) -> Became {
    let (event, cool_down) = (&attempt.event, policy.circuit.cool_down);
    // A probe goes behind all that is due: the next one is another event, so that a bad one does not keep the circuit open.
    let wait = |wait: Duration| Became::Pending(after(now, if event.probe { wait.max(cool_down) } else { wait }));
    match &attempt.outcome {
        Outcome::Delivered(_) => Became::Delivered,
        _ if withdrawn => Became::Cancelled,
        Outcome::Refused(error) | Outcome::Broken(error) => Became::Dead(error.clone()),
        Outcome::NotSent(_) | Outcome::OutOfResources(_) => Became::Pending(now),
        // `Retry-After: 0` spends no attempt: without a pause of ours, nothing would slow the calls down or end them.
        Outcome::RetryAfter(_, wait) => {
            Became::Pending(after(now, (*wait).min(policy.retry_after_max).max(policy.retry.delay(1))))
        }
        Outcome::Unauthorised(_) => wait(cool_down),
        // It spends no attempt, so the wait grows with the failures that are remembered.
        Outcome::Misdirected { .. } => {
            let failures = i32::try_from(event.failed().len()).unwrap_or(i32::MAX).saturating_add(1);
            wait(policy.retry.delay(Ord::max(event.attempt, failures)))
        }
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) | Outcome::Forbidden(_) => match blame {
            Blame::Destination => wait(cool_down),
            Blame::Event => match policy.retry.gives_up(event.attempt, event.failing_since(now), now) {
                Some(why) => Became::Dead(why),
                None => wait(policy.retry.delay(event.attempt)),
            },
        },
    }
}

/// Attempts that the destination did not get to judge, or that it asked us to put off, are not held against the event.
fn spends_attempt<R>(attempt: &Attempt<R>, blame: Blame) -> bool {
    match attempt.outcome {
        Outcome::NotSent(_)
        | Outcome::OutOfResources(_)
        | Outcome::RetryAfter(..)
        | Outcome::Misdirected { .. }
        | Outcome::Unauthorised(_) => false,
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) | Outcome::Forbidden(_) => {
            blame == Blame::Event
        }
        Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::Broken(_) => true,
    }
}

async fn mark_delivered<R: Receipt>(
    txn: &DatabaseTransaction,
    attempts: &[&Attempt<R>],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if attempts.is_empty() {
        return Ok(());
    }
    let delivered = outbox_event::ActiveModel {
        status: Set(Status::Delivered),
        settled_at: Set(Some(now)),
        lease_token: Set(None),
        leased_until: Set(None),
        ..Default::default()
    };
    let ids = padded(attempts.iter().map(|attempt| attempt.event.id));
    let update = Entity::update_many().set(delivered).col_expr(Column::Receipt, receipts(attempts));
    update.filter(Column::Id.is_in(ids)).exec(txn).await.map(drop)
}

/// Writes a failed attempt down. The caller holds the row's lock and has compared the lease.
pub(super) async fn end_attempt<R>(
    txn: &DatabaseTransaction,
    attempt: &Attempt<R>,
    blame: Blame,
    became: &Became,
    worker: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let event = &attempt.event;
    let mut row = outbox_event::ActiveModel {
        lease_token: Set(None),
        leased_until: Set(None),
        leased_by: Set(None),
        attempts: Set(if spends_attempt(attempt, blame) { event.attempt } else { event.attempt - 1 }),
        ..Default::default()
    };
    if let Outcome::Unknown(_) | Outcome::Broken(_) | Outcome::Misdirected { unknown: true, .. } = attempt.outcome {
        row.outcome_unknown = Set(true);
    }
    match became {
        Became::Pending(due_at) => {
            row.status = Set(Status::Pending);
            // Handed back unsent, it stays where it was in the queue.
            if !attempt.outcome.is_unsent() {
                row.due_at = Set(*due_at);
            }
        }
        Became::Dead(_) => (row.status, row.settled_at) = (Set(Status::Dead), Set(Some(now))),
        Became::Cancelled => (row.status, row.settled_at) = (Set(Status::Cancelled), Set(Some(now))),
        Became::Delivered | Became::Lost(_) => return Ok(()),
    }
    if let Some(error) = attempt.outcome.error().filter(|_| !attempt.outcome.is_unsent()) {
        let error: String = error.chars().take(ERROR_LENGTH_MAX).collect();
        let failure = failure(attempt, &error, became, worker, now);
        row.failures = Set(remember(&event.failures, failure.into_json()));
        row.last_error = Set(Some(error));
    }
    Entity::update_many().set(row).filter(Column::Id.eq(event.id)).exec(txn).await.map(drop)
}

fn failure<R>(attempt: &Attempt<R>, error: &str, became: &Became, worker: &str, now: DateTime<Utc>) -> Failure {
    let gave_up = match (became, &attempt.outcome) {
        (Became::Dead(_), Outcome::Refused(_) | Outcome::Broken(_)) => None,
        (Became::Dead(why), _) => Some(why.clone()),
        _ => None,
    };
    Failure {
        attempt: attempt.event.attempt,
        outcome: attempt.outcome.name().into(),
        error: error.into(),
        at: now,
        duration_ms: attempt.took_ms(),
        by: worker.into(),
        gave_up,
    }
}

fn remember(failures: &Value, failure: Value) -> Value {
    let mut failures = failures.as_array().cloned().unwrap_or_default();
    failures.push(failure);
    let excess = failures.len().saturating_sub(FAILURES_MAX);
    failures.drain(..excess);
    Value::Array(failures)
}
