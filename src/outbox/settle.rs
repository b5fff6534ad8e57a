//! Writing down what attempts came to, guarded by their leases.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::outbox_event::{self, Column, Entity, Status};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Alias, Expr, Query, SelectStatement},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Failure, LeasedEvent, Outcome, Policy, Receipt,
    claim::padded,
    gate::{self, Weather},
    receipt::receipts,
};
use crate::clock::{Clock, after};
use crate::database::DatabaseTransaction;

/// How many failed attempts an event remembers.
const FAILURES_MAX: usize = 20;
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
    let mut weather = Weather::default();
    let mut settled = Vec::with_capacity(attempts.len());
    let (mut delivered, mut frees) = (Vec::new(), false);
    for attempt in attempts {
        let became = match rows.get(&attempt.event.id) {
            Some(row) if row.lease_token == Some(attempt.event.lease_token) => {
                next(attempt, row.withdrawn, policy, now)
            }
            row => Became::Lost(row.and_then(|row| row.leased_by.clone()).unwrap_or_else(|| "nobody any more".into())),
        };
        // A late answer changes nothing about its destination either: it is old, and it may have been counted before.
        if !matches!(became, Became::Lost(_)) {
            weather.note(&attempt.outcome, attempt.event.probe);
        }
        frees |= match &became {
            Became::Delivered | Became::Cancelled => rows.get(&attempt.event.id).is_some_and(|row| row.followed),
            Became::Pending(due_at) => *due_at <= now,
            Became::Dead(_) | Became::Lost(_) => false,
        };
        match &became {
            Became::Delivered => delivered.push(attempt),
            Became::Lost(_) => {}
            became => end_attempt(txn, attempt, became, worker, now).await?,
        }
        settled.push(became);
    }
    mark_delivered(txn, &delivered, now).await?;
    weather.share(txn, destination, failures_counted, policy, now).await?;
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

/// In the order of ids, as everybody who locks several events: two settles never wait for each other in a circle. What else
/// settling must know of `destination` and the time is asked along.
async fn lock(
    txn: &DatabaseTransaction,
    clock: &Clock,
    destination: &str,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Row>, DbErr> {
    let rows: Vec<Row> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::LeaseToken, Column::LeasedBy, Column::Withdrawn])
        .expr_as(Expr::exists(a_later_pending_event()), "followed")
        .expr_as(Expr::exists(gate::failures_counted(destination)), "failures_counted")
        .expr_as(clock.as_sql(txn.get_database_backend()), "now")
        .filter(Column::Id.is_in(padded(ids)))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_model()
        .all(txn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

fn a_later_pending_event() -> SelectStatement {
    let later = Alias::new("later");
    Query::select()
        .expr(Expr::val(1))
        .from_as(Entity, later.clone())
        .and_where(Expr::col((later.clone(), Column::AggregateId)).equals((Entity, Column::AggregateId)))
        .and_where(Expr::col((later.clone(), Column::Destination)).equals((Entity, Column::Destination)))
        .and_where(Expr::col((later.clone(), Column::Sequence)).gt(Expr::col((Entity, Column::Sequence))))
        .and_where(Expr::col((later, Column::Status)).eq(Status::Pending))
        .take()
}

/// What follows an attempt. Pure: everything that decides is an argument.
fn next<R>(attempt: &Attempt<R>, withdrawn: bool, policy: &Policy, now: DateTime<Utc>) -> Became {
    let event = &attempt.event;
    match &attempt.outcome {
        Outcome::Delivered(_) => Became::Delivered,
        _ if withdrawn => Became::Cancelled,
        Outcome::Refused(error) | Outcome::Broken(error) => Became::Dead(error.clone()),
        Outcome::NotSent(_) | Outcome::OutOfResources(_) => Became::Pending(now),
        // `Retry-After: 0` spends no attempt: without a pause of ours, nothing would slow the calls down or end them.
        Outcome::RetryAfter(_, wait) => {
            Became::Pending(after(now, (*wait).min(policy.retry_after_max).max(policy.retry.delay(1))))
        }
        // Behind all that is due: the next probe is another event, lest one bad event keeps the circuit open.
        Outcome::Unauthorised(_) | Outcome::Forbidden(_) => Became::Pending(after(now, policy.circuit.cool_down)),
        _ if event.probe => Became::Pending(after(now, policy.circuit.cool_down)),
        Outcome::Misdirected { .. } => Became::Pending(after(now, policy.retry.delay(event.attempt))),
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) => {
            match policy.retry.gives_up(event.attempt, event.live_since, now) {
                Some(why) => Became::Dead(why),
                None => Became::Pending(after(now, policy.retry.delay(event.attempt))),
            }
        }
    }
}

/// Attempts that the destination did not get to judge, or that it asked us to put off, are not held against the event.
fn spends_attempt<R>(attempt: &Attempt<R>) -> bool {
    match attempt.outcome {
        Outcome::NotSent(_)
        | Outcome::OutOfResources(_)
        | Outcome::RetryAfter(..)
        | Outcome::Misdirected { .. }
        | Outcome::Unauthorised(_)
        | Outcome::Forbidden(_) => false,
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) => !attempt.event.probe,
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
    became: &Became,
    worker: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let event = &attempt.event;
    let mut row = outbox_event::ActiveModel {
        lease_token: Set(None),
        leased_until: Set(None),
        leased_by: Set(None),
        attempts: Set(if spends_attempt(attempt) { event.attempt } else { event.attempt - 1 }),
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
        (Became::Dead(why), Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_)) => Some(why.clone()),
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
