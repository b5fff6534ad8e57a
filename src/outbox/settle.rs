//! Writing down what attempts came to, guarded by their leases.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use uuid::Uuid;

use super::{
    DestinationName, LeasedEvent, Outcome, Policy, Receipt,
    destinations::{Blame, Weather},
    ended::{self, Ended},
    locked::locked,
};
use crate::{
    clock::{Clock, after},
    database::DatabaseTransaction,
};

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
    /// What it says, by an earlier try to settle this very attempt: its commit went through and the answer was lost. This
    /// try changed nothing.
    Already(Box<Became>),
    /// Nothing: the lease was over and somebody else has it, or has settled it. Names who, as far as the row tells.
    Lost(String),
}

impl Became {
    /// The same without saying by which try.
    #[must_use]
    pub fn in_the_end(self) -> Self {
        match self {
            Self::Already(became) => *became,
            became => became,
        }
    }
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
    destination: &DestinationName,
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
    let (mut delivered, mut failed, mut frees) = (Vec::new(), Vec::new(), false);
    for attempt in attempts {
        let row = rows.get(&attempt.event.id);
        let became = match row {
            Some(row) if row.is_held_for(attempt) => {
                let blame = weather.note(attempt);
                let became = next(attempt, row.withdrawn, blame, policy, now);
                match &became {
                    Became::Delivered => delivered.push(attempt),
                    became => failed.push(Ended::new(attempt, blame, became, worker, now)),
                }
                became
            }
            // A late answer changes nothing about its destination either: it is old, and it may have been counted before.
            row => match row.and_then(|row| row.settled_before(attempt)) {
                Some(became) => Became::Already(Box::new(became)),
                None => {
                    Became::Lost(row.and_then(|it| it.leased_by.clone()).unwrap_or_else(|| "nobody any more".into()))
                }
            },
        };
        frees |= row.is_some_and(|row| row.frees(&became, now));
        settled.push(became);
    }
    ended::mark_delivered(txn, &delivered, now).await?;
    ended::write_down(txn, failed).await?;
    weather.share(txn, destination, failures_counted).await?;
    Ok(Settling { became: settled, frees, at: now })
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    status: Status,
    attempts: i32,
    due_at: DateTime<Utc>,
    lease_token: Option<Uuid>,
    leased_until: Option<DateTime<Utc>>,
    leased_by: Option<String>,
    withdrawn: bool,
    /// A later event of its quote waits for it.
    followed: bool,
    /// The fleet has counted failures of the destination, see [`destinations::failures_counted`].
    failures_counted: bool,
    /// When it was read.
    now: DateTime<Utc>,
}

impl Row {
    fn is_held_for<R>(&self, attempt: &Attempt<R>) -> bool {
        self.lease_token == Some(attempt.event.lease_token) && self.leased_until.is_some()
    }

    /// What its event became, if this attempt's own lease was settled before. The token tells: each claim writes a new
    /// one, a rescue clears it, and settling leaves it. An event that was handed back has none; only that sets `attempts`
    /// back to what they were before the claim.
    fn settled_before<R>(&self, attempt: &Attempt<R>) -> Option<Became> {
        let LeasedEvent { lease_token, attempt: number, .. } = &attempt.event;
        let unsent = attempt.outcome.is_unsent();
        let handed_back = unsent && self.lease_token.is_none() && self.attempts == number - 1;
        if self.leased_until.is_some() || !(handed_back || self.lease_token == Some(*lease_token)) {
            return None;
        }
        match self.status {
            Status::Pending => Some(Became::Pending(self.due_at)),
            Status::Delivered => Some(Became::Delivered),
            Status::Dead => Some(Became::Dead(attempt.outcome.error().unwrap_or_default().to_owned())),
            Status::Cancelled => Some(Became::Cancelled),
            Status::Leased => None,
        }
    }

    /// Whether others are deliverable at once when its event became this.
    fn frees(&self, became: &Became, now: DateTime<Utc>) -> bool {
        match became {
            Became::Delivered | Became::Cancelled => self.followed,
            Became::Pending(due_at) => *due_at <= now,
            Became::Already(became) => self.frees(became, now),
            Became::Dead(_) | Became::Lost(_) => false,
        }
    }
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
pub(super) fn spends_attempt<R>(attempt: &Attempt<R>, blame: Blame) -> bool {
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
