//! What a batch of outcomes says about its destination, and whom each failure is held against.
//!
//! A failure counts towards the circuit unless it is our own. Failures of one event that follow each other count as one: a bad
//! event cannot open the circuit for others by itself. The row of the destination is read and locked only when an
//! outcome may change it; calm weather writes nothing, so that the row is no bottleneck.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{
    destination::{self, Circuit},
    outbox_event::{Column, Entity, Status},
};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
    sea_query::{Alias, Expr, Query},
};
use uuid::Uuid;

use super::{believed, openings, streak::Streak};
use crate::{
    clock::after,
    database::DatabaseTransaction,
    outbox::{Attempt, Failure, LeasedEvent, Outcome, Policy, status_in},
};

/// A 403 that is the last of so many failures in a row, of several events, is about our credentials.
const FORBIDDEN_IN_A_ROW: i32 = 3;
/// How many of the events that settled last are looked at for a delivery.
const SETTLED_SEEN_MAX: u64 = 1_000;

/// Whom a failed attempt is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) enum Blame {
    /// Its event: the attempt is spent, and the next one waits by the retry policy.
    Event,
    /// The destination, or us: no attempt is spent, and the next one waits for a cool-down.
    Destination,
}

/// What the probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Succeeded,
    /// The destination is still unwell, or we are refused.
    Failed,
    /// It says nothing about others: one of them may go at once.
    OfNoUse,
}

/// How our credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// By 403, which a success after it refutes.
    Forbidden,
    Unauthorised,
}

/// What a batch of outcomes, in the order in which they came, says about its destination.
#[derive(Debug)]
pub(in crate::outbox) struct Weather<'a> {
    policy: &'a Policy,
    now: DateTime<Utc>,
    /// The destination, locked; none in calm weather.
    row: Option<destination::Model>,
    /// An event was delivered within the last cool-down.
    delivered_lately: bool,
    streak: Streak,
    any_success: bool,
    reason: Option<String>,
    refusal: Option<Refusal>,
    retry_after: Option<Duration>,
    probe: Option<Probe>,
}

impl<'a> Weather<'a> {
    /// Reads and locks what the fleet shares about `name`, if `attempts` can change it.
    pub(in crate::outbox) async fn look<R>(
        txn: &DatabaseTransaction,
        name: &str,
        attempts: &[Attempt<R>],
        policy: &'a Policy,
        now: DateTime<Utc>,
    ) -> Result<Self, DbErr> {
        let mut weather = Self::calm(policy, now);
        if is_calm(attempts) {
            return Ok(weather);
        }
        let row = destination::Entity::find_by_id(name).lock_exclusive().one(txn).await?;
        weather.row = row.map(|row| believed(row, now));
        if let Some(row) = &weather.row {
            weather.streak =
                Streak { count: row.consecutive_failures, event: row.failing_event, since: row.failing_since };
        }
        let in_doubt = |attempt: &Attempt<R>| match attempt.outcome {
            Outcome::Forbidden(_) => true,
            Outcome::Retry(_) | Outcome::Unknown(_) => attempt.event.probe,
            _ => false,
        };
        if attempts.iter().any(in_doubt) {
            let delivered = |attempt: &Attempt<R>| matches!(attempt.outcome, Outcome::Delivered(_));
            weather.delivered_lately = attempts.iter().any(delivered)
                || delivered_between(txn, name, now - policy.circuit.cool_down, now).await?;
        }
        Ok(weather)
    }

    fn calm(policy: &'a Policy, now: DateTime<Utc>) -> Self {
        Self {
            policy,
            now,
            row: None,
            delivered_lately: false,
            streak: Streak::default(),
            any_success: false,
            reason: None,
            refusal: None,
            retry_after: None,
            probe: None,
        }
    }

    /// Takes the next outcome into account, and answers whom it is held against if it failed.
    pub(in crate::outbox) fn note<R>(&mut self, attempt: &Attempt<R>) -> Blame {
        let (event, outcome) = (&attempt.event, &attempt.outcome);
        let (mut probe, mut blame) = (Probe::Failed, Blame::Event);
        match outcome {
            // A refusal is an answer too: the destination is up.
            Outcome::Delivered(_) | Outcome::Refused(_) => {
                self.succeed(event.probe);
                probe = Probe::Succeeded;
            }
            Outcome::NotSent(_) | Outcome::OutOfResources(_) => (probe, blame) = (Probe::OfNoUse, Blame::Destination),
            Outcome::RetryAfter(_, wait) => {
                self.retry_after = self.retry_after.max(Some(*wait));
                blame = Blame::Destination;
            }
            Outcome::Unauthorised(_) => {
                self.fail(None, outcome);
                self.refusal = Some(Refusal::Unauthorised);
                blame = Blame::Destination;
            }
            Outcome::Forbidden(_) => {
                let its_own = self.is_its_own(event);
                self.fail(Some(event.id), outcome);
                blame = if its_own { Blame::Event } else { Blame::Destination };
                if !its_own {
                    self.refusal.get_or_insert(Refusal::Forbidden);
                }
                // As long as it is the only one, another event shows whether it is to blame: it need not wait for that.
                if its_own || self.streak.alone().is_some() {
                    probe = Probe::OfNoUse;
                }
            }
            Outcome::Unreachable(_) => {
                self.fail(None, outcome);
                blame = if event.probe { Blame::Destination } else { Blame::Event };
            }
            Outcome::Misdirected { .. } => {
                self.fail(Some(event.id), outcome);
                blame = Blame::Destination;
            }
            Outcome::Broken(_) => self.fail(Some(event.id), outcome),
            Outcome::Retry(_) | Outcome::Unknown(_) => {
                self.fail(Some(event.id), outcome);
                let alone = self.streak.alone() == Some(event.id);
                if event.probe && !alone && !self.delivered_lately {
                    blame = Blame::Destination;
                }
            }
        }
        if event.probe {
            self.probe = Some(probe);
        }
        blame
    }

    /// A success of a straggler says nothing about a destination that has failed since.
    fn succeed(&mut self, probe: bool) {
        if probe || !self.is_open() {
            self.streak = Streak::default();
            self.any_success = true;
            self.refusal.take_if(|refusal| *refusal == Refusal::Forbidden);
        }
    }

    fn fail<R>(&mut self, cause: Option<Uuid>, outcome: &Outcome<R>) {
        self.reason = outcome.error().map(str::to_owned);
        let streak = &mut self.streak;
        if streak.count == 0 {
            *streak = Streak { count: 1, event: cause, since: Some(self.now) };
        } else if cause.is_none() || streak.event != cause {
            streak.count = streak.count.saturating_add(1);
            streak.event = cause;
        }
    }

    /// Whether a 403 is about `event` alone: others have been delivered since its last one, or were just now and it is not one
    /// of several in a row.
    fn is_its_own(&self, event: &LeasedEvent) -> bool {
        let Streak { count, event: last, since } = self.streak;
        let again = Failure::all_in(&event.failures).pop().filter(|failure| failure.outcome == "unauthorised");
        if again.is_some_and(|failure| count == 0 || since.is_some_and(|since| failure.at < since)) {
            return true;
        }
        let in_a_row = if last == Some(event.id) { count } else { count.saturating_add(1) };
        self.delivered_lately && in_a_row < FORBIDDEN_IN_A_ROW
    }

    fn is_open(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.circuit == Circuit::Open)
    }

    /// Writes it down for the fleet, if it changes anything. `failures_counted` tells whether a success would.
    pub(in crate::outbox) async fn share(
        self,
        txn: &DatabaseTransaction,
        name: &str,
        failures_counted: bool,
    ) -> Result<(), DbErr> {
        let Some(before) = self.row.clone() else {
            if self.any_success && failures_counted {
                forget_failures(txn, name).await?;
            }
            return Ok(());
        };
        let now = self.now;
        let row = self.applied(before.clone());
        if row == before {
            return Ok(());
        }
        let moved = (before.circuit, row.circuit);
        let reason = row.circuit_reason.clone();
        destination::Model { updated_at: now, ..row }.into_active_model().reset_all().update(txn).await?;
        openings::moved(txn, name, moved, reason.as_deref(), now).await
    }

    /// The destination's row after it. Pure.
    fn applied(self, mut row: destination::Model) -> destination::Model {
        let Self { policy, now, .. } = self;
        let cooled_down = after(now, policy.circuit.cool_down);
        let not_before = self.retry_after.map(|wait| after(now, wait.min(policy.retry_after_max)));
        row.not_before = Ord::max(row.not_before, not_before);
        row.consecutive_failures = self.streak.count;
        row.failing_event = self.streak.event;
        row.failing_since = self.streak.since;
        let too_many = u32::try_from(self.streak.count).is_ok_and(|count| count >= policy.circuit.failures);
        match (row.circuit, self.probe) {
            (Circuit::Open, Some(Probe::Succeeded)) => {
                row.circuit = Circuit::Closed;
                row.circuit_opened_at = None;
                row.circuit_reason = None;
                row.probe_at = None;
                row.callable_since = Some(now);
            }
            (Circuit::Open, Some(Probe::Failed)) => row.probe_at = Some(cooled_down),
            (Circuit::Open, Some(Probe::OfNoUse)) => row.probe_at = Some(now),
            (Circuit::Closed, _) if self.refusal.is_some() || too_many => {
                let one_is_forbidden = self.refusal == Some(Refusal::Forbidden) && self.streak.alone().is_some();
                row.circuit = Circuit::Open;
                row.circuit_opened_at = Some(now);
                row.circuit_reason = self.reason;
                row.probe_at = Some(if one_is_forbidden { now } else { cooled_down });
            }
            _ => {}
        }
        row
    }
}

/// Whether `attempts` change nothing about their destination but for failures that a success ends.
fn is_calm<R>(attempts: &[Attempt<R>]) -> bool {
    let mut calm = true;
    for Attempt { event, outcome, .. } in attempts {
        calm = match outcome {
            _ if event.probe => return false,
            Outcome::RetryAfter(..) | Outcome::Unauthorised(_) | Outcome::Forbidden(_) => return false,
            Outcome::Delivered(_) | Outcome::Refused(_) => true,
            Outcome::NotSent(_) | Outcome::OutOfResources(_) => calm,
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::Unknown(_)
            | Outcome::Broken(_)
            | Outcome::Misdirected { .. } => false,
        };
    }
    calm
}

async fn forget_failures(txn: &DatabaseTransaction, name: &str) -> Result<(), DbErr> {
    let none = destination::ActiveModel {
        consecutive_failures: Set(0),
        failing_event: Set(None),
        failing_since: Set(None),
        ..Default::default()
    };
    destination::Entity::update_many()
        .set(none)
        .filter(destination::Column::Name.eq(name))
        .filter(destination::Column::Circuit.eq(Circuit::Closed))
        .filter(destination::Column::ConsecutiveFailures.gt(0))
        .exec(txn)
        .await
        .map(drop)
}

/// Whether an event of `name` was delivered after `since`, and not after `now`. It reads the events that settled last, from the index of retention,
/// and no more than [`SETTLED_SEEN_MAX`] of them.
async fn delivered_between(
    db: &impl ConnectionTrait,
    name: &str,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    // As the index is: partial over both where the database has that, and led by the status on MariaDB.
    let statuses: &[Status] = match db.get_database_backend() {
        DbBackend::MySql => &[Status::Delivered],
        _ => &[Status::Delivered, Status::Cancelled],
    };
    let last = Entity::find()
        .select_only()
        .columns([Column::Destination, Column::Status])
        .filter(status_in(statuses))
        .filter(Column::SettledAt.gt(since))
        // A clock that ran ahead once says nothing.
        .filter(Column::SettledAt.lte(now))
        .order_by_desc(Column::SettledAt)
        .limit(SETTLED_SEEN_MAX)
        .into_query();
    let lately = Alias::new("lately");
    let question = Query::select()
        .expr(Expr::val(1))
        .from_subquery(last, lately.clone())
        .and_where(Expr::col((lately.clone(), Column::Destination)).eq(name))
        .and_where(Expr::col((lately, Column::Status)).eq(Status::Delivered))
        .limit(1)
        .to_owned();
    Ok(db.query_one(&question).await?.is_some())
}
