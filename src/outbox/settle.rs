//! Recording what attempts came to, guarded by their leases.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use uuid::Uuid;

use super::{
    DestinationName, LeasedEvent, Outcome, Policy, Receipt,
    destinations::{Blame, DestinationChange, DestinationHealth, LaneHealth},
    ended::{self, Ended},
    locked::locked,
    parking::unpark,
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
    /// How it ended.
    pub outcome: Outcome<R>,
    /// How long it took.
    pub took: Duration,
    /// A call that began later has succeeded: if this one failed, then not because its destination is down.
    pub is_overtaken: bool,
}

impl<R> Attempt<R> {
    pub(super) fn took_ms(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

/// An attempt that was recorded, or came too late for that, and what its event became.
pub type Settled<'a, R> = (&'a Attempt<R>, &'a Disposition);

/// What an event became by an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The destination has it.
    Delivered,
    /// It is retried at this time.
    Pending(DateTime<Utc>),
    /// It is given up, for this reason.
    Dead(String),
    /// It had been withdrawn meanwhile.
    Cancelled,
    /// An earlier call has settled this very attempt: its commit succeeded and the answer was lost. This call changed
    /// nothing.
    AlreadySettled(Box<Disposition>),
    /// Nothing: the lease was over, and another worker has the event or has settled it. Names that worker, if it is known.
    LeaseLost(String),
}

impl Disposition {
    /// The same, whichever call settled the attempt.
    #[must_use]
    pub fn of_any_call(self) -> Self {
        match self {
            Self::AlreadySettled(disposition) => *disposition,
            disposition => disposition,
        }
    }
}

/// What settling came to.
#[derive(Debug)]
pub struct SettleReport {
    /// What each event became, in the order of the attempts.
    pub dispositions: Vec<Disposition>,
    /// Whether other events can be delivered at once because of it.
    pub unblocks_others: bool,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// What changed about the destination.
    pub change: Option<DestinationChange>,
    /// What changed about its lanes.
    pub lane_changes: Vec<(&'static DestinationName, DestinationChange)>,
}

/// Settles `attempts` of one destination inside `txn`; what else belongs to a delivery is stored in the same one.
///
/// The rows are locked first and each is compared with the lease of its attempt: a late answer changes nothing, and
/// comes back as [`Disposition::LeaseLost`] so that its effects are left out too.
///
/// # Errors
/// Any database error.
pub async fn settle<R: Receipt>(
    txn: &DatabaseTransaction,
    clock: &Clock,
    destination: &DestinationName,
    worker: &str,
    policy: &Policy,
    attempts: &[Attempt<R>],
) -> Result<SettleReport, DbErr> {
    let rows = lock(txn, clock, destination, attempts.iter().map(|attempt| attempt.event.id)).await?;
    let (now, failures_counted) = match rows.values().next() {
        Some(row) => (row.now, row.failures_counted),
        None => (clock.now(txn).await?, false),
    };
    let mut health = DestinationHealth::read(txn, destination, attempts, policy, now).await?;
    let (mut lanes, mut settled) = (LaneHealth::default(), Vec::with_capacity(attempts.len()));
    let (mut delivered, mut failed, mut unblocks_others) = (Vec::new(), Vec::new(), false);
    for attempt in attempts {
        let row = rows.get(&attempt.event.id);
        let disposition = match row {
            Some(row) if row.is_held_for(attempt) => {
                let in_time = row.lease_lasts(now);
                let blame = health.count(attempt, in_time);
                lanes.count(attempt, in_time);
                let disposition = disposition(attempt, row.withdrawn, blame, policy, now);
                match &disposition {
                    Disposition::Delivered => delivered.push(attempt),
                    disposition => failed.push(Ended::new(attempt, blame, disposition, worker, now)),
                }
                disposition
            }
            // A late answer says nothing about its destination either: it is old, and may have been counted before.
            row => match row.and_then(|row| row.settled_before(attempt)) {
                Some(disposition) => Disposition::AlreadySettled(Box::new(disposition)),
                None => {
                    Disposition::LeaseLost(row.and_then(|it| it.leased_by.clone()).unwrap_or_else(|| "nobody".into()))
                }
            },
        };
        unblocks_others |= row.is_some_and(|row| row.unblocks_others(&disposition, now));
        settled.push(disposition);
    }
    ended::mark_delivered(txn, &delivered, now).await?;
    ended::write_down(txn, failed).await?;
    let ended = attempts.iter().zip(&settled).filter(|(attempt, disposition)| {
        let is_over = matches!(disposition, Disposition::Delivered | Disposition::Cancelled);
        is_over && rows.get(&attempt.event.id).is_some_and(|row| row.followed)
    });
    unpark(txn, destination.as_str(), ended.map(|(attempt, _)| attempt.event.aggregate_id), now).await?;
    let change = health.save(txn, destination, failures_counted).await?;
    let lane_changes = lanes.save(txn, destination, policy, now).await?;
    Ok(SettleReport { dispositions: settled, unblocks_others, at: now, change, lane_changes })
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

    fn lease_lasts(&self, now: DateTime<Utc>) -> bool {
        self.leased_until.is_some_and(|until| until > now)
    }

    /// What its event became, if this attempt's own lease was settled before. The token tells: each claim writes a new
    /// one, a rescue clears it, and settling leaves it. An event that was handed back has none; only that sets `attempts`
    /// back to what they were before the claim.
    fn settled_before<R>(&self, attempt: &Attempt<R>) -> Option<Disposition> {
        let LeasedEvent { lease_token, attempt: number, .. } = &attempt.event;
        let unsent = attempt.outcome.is_unsent();
        let handed_back = unsent && self.lease_token.is_none() && self.attempts == number - 1;
        if self.leased_until.is_some() || !(handed_back || self.lease_token == Some(*lease_token)) {
            return None;
        }
        match self.status {
            Status::Pending => Some(Disposition::Pending(self.due_at)),
            Status::Delivered => Some(Disposition::Delivered),
            Status::Dead => Some(Disposition::Dead(attempt.outcome.error().unwrap_or_default().to_owned())),
            Status::Cancelled => Some(Disposition::Cancelled),
            Status::Leased => None,
        }
    }

    /// Whether other events can be delivered at once after this disposition.
    fn unblocks_others(&self, disposition: &Disposition, now: DateTime<Utc>) -> bool {
        match disposition {
            Disposition::Delivered | Disposition::Cancelled => self.followed,
            Disposition::Pending(due_at) => *due_at <= now,
            Disposition::AlreadySettled(disposition) => self.unblocks_others(disposition, now),
            Disposition::Dead(_) | Disposition::LeaseLost(_) => false,
        }
    }
}

/// Locks the rows of `ids`, and reads with them what settling must know of `destination`, and the time.
async fn lock(
    txn: &DatabaseTransaction,
    clock: &Clock,
    destination: &str,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Row>, DbErr> {
    let query = locked(destination, clock.as_sql(txn.get_database_backend()), ids);
    let rows: Vec<Row> = query.into_model().all(txn).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// What follows an attempt. Pure: everything that decides is an argument.
pub(super) fn disposition<R>(
    attempt: &Attempt<R>,
    withdrawn: bool,
    blame: Blame,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Disposition {
    let (event, cool_down) = (&attempt.event, policy.circuit.cool_down);
    // A probe is due after all others: the next probe is another event, so a bad event does not keep the circuit open.
    let wait = |wait: Duration| Disposition::Pending(after(now, if event.probe { wait.max(cool_down) } else { wait }));
    match &attempt.outcome {
        Outcome::Delivered(_) => Disposition::Delivered,
        _ if withdrawn => Disposition::Cancelled,
        Outcome::Refused(error) | Outcome::Broken(error) => Disposition::Dead(error.clone()),
        Outcome::NotSent(_) | Outcome::OutOfResources(_) => Disposition::Pending(now),
        // `Retry-After: 0` spends no attempt: without a pause of ours, nothing would slow the calls down or end them.
        Outcome::RetryAfter(_, wait) => {
            Disposition::Pending(after(now, (*wait).min(policy.retry_after_max).max(policy.retry.delay(1))))
        }
        Outcome::Unauthorised(_) | Outcome::LaneUnusable(_) => wait(cool_down),
        Outcome::PutOff(_, wait) => Disposition::Pending(after(now, *wait)),
        // It spends no attempt, so the wait grows with the failures that are remembered.
        Outcome::Misdirected { .. } => {
            let failures = i32::try_from(event.failed().len()).unwrap_or(i32::MAX).saturating_add(1);
            wait(policy.retry.delay(Ord::max(event.attempt, failures)))
        }
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) | Outcome::Forbidden(_) => match blame {
            Blame::Destination => wait(cool_down),
            Blame::Event => match policy.retry.gives_up(event.attempt, event.failing_since(now), now) {
                Some(why) => Disposition::Dead(why),
                None => wait(policy.retry.delay(event.attempt)),
            },
        },
    }
}

/// Whether the attempt counts against its event: not if the destination did not judge it, or asked for a later call.
pub(super) fn spends_attempt<R>(attempt: &Attempt<R>, blame: Blame) -> bool {
    match attempt.outcome {
        Outcome::NotSent(_)
        | Outcome::OutOfResources(_)
        | Outcome::PutOff(..)
        | Outcome::LaneUnusable(_)
        | Outcome::RetryAfter(..)
        | Outcome::Misdirected { .. }
        | Outcome::Unauthorised(_) => false,
        Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) | Outcome::Forbidden(_) => {
            blame == Blame::Event
        }
        Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::Broken(_) => true,
    }
}
