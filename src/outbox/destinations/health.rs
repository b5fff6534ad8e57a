//! What a batch of outcomes says about the health of its destination, and what each failure is blamed on.
//!
//! A failure counts towards the circuit unless it is our own. Consecutive failures of one event count as one: a bad event
//! cannot open the circuit for others by itself. Nor do failures in a row prove an outage while others are delivered: a fee server
//! that takes half of the calls of a large fleet refuses any number of them in a row, at once, while the others take their time. There
//! the circuit opens only when as many calls have failed in a row as are still in flight (`docs/adr/0044`). The destination's row is read and locked only when an outcome may change
//! it. As long as all is well nothing is written, so the row is no bottleneck.

#[cfg(feature = "lab")]
mod on_paper;
mod others;

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use super::{DestinationChange, delivered::delivered_lately, openings, streak::Streak, without_wrong_clocks};
use crate::{
    clock::after,
    database::DatabaseTransaction,
    outbox::{Attempt, Failure, LeasedEvent, Outcome, Policy},
};

#[cfg(feature = "lab")]
pub(crate) use on_paper::{DestinationOnPaper, PermitOnPaper, leased_on_paper};
use others::takes_others;

/// After this many consecutive failures, of several events, a 403 is about our credentials.
const FORBIDDEN_IN_A_ROW: i32 = 3;

/// What a failed attempt is blamed on.
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
    /// The destination still fails, or refuses our credentials.
    Failed,
    /// It says nothing about other events: one of them may go out at once.
    Inconclusive,
}

/// How our credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// By 403, which a success after it refutes.
    Forbidden,
    Unauthorised,
}

/// The health of a destination after a batch of outcomes, counted in their order.
#[derive(Debug)]
pub(in crate::outbox) struct DestinationHealth<'a> {
    policy: &'a Policy,
    now: DateTime<Utc>,
    /// The destination, locked; none if no outcome can change it.
    row: Option<destination::Model>,
    /// An event was delivered within the last cool-down.
    delivered_recently: bool,
    streak: Streak,
    any_success: bool,
    reason: Option<String>,
    refusal: Option<Refusal>,
    retry_after: Option<Duration>,
    /// What came of the probe, and its error.
    probe: Option<(Probe, Option<String>)>,
    /// The destination takes other calls: failures in a row are too many for it, and no outage.
    takes_others: bool,
}

impl<'a> DestinationHealth<'a> {
    /// Reads and locks what the fleet shares about `name`, if `attempts` can change it.
    pub(in crate::outbox) async fn read<R>(
        txn: &DatabaseTransaction,
        name: &str,
        attempts: &[Attempt<R>],
        policy: &'a Policy,
        now: DateTime<Utc>,
    ) -> Result<Self, DbErr> {
        let mut health = Self::unchanged(policy, now);
        if !may_change(attempts) {
            return Ok(health);
        }
        if let Some(row) = destination::Entity::find_by_id(name).lock_exclusive().one(txn).await? {
            health = health.with(row);
        }
        let in_doubt = |attempt: &Attempt<R>| match attempt.outcome {
            Outcome::Forbidden(_) => true,
            Outcome::Retry(_) | Outcome::Unknown(_) => attempt.event.probe,
            _ => false,
        };
        if attempts.iter().any(in_doubt) {
            let delivered = |attempt: &Attempt<R>| matches!(attempt.outcome, Outcome::Delivered(_));
            let lately = delivered_lately(txn.get_database_backend(), name, now - policy.circuit.cool_down, now);
            health.delivered_recently = attempts.iter().any(delivered) || txn.query_one(&lately).await?.is_some();
        }
        Ok(health)
    }

    fn unchanged(policy: &'a Policy, now: DateTime<Utc>) -> Self {
        Self {
            policy,
            now,
            row: None,
            delivered_recently: false,
            streak: Streak::default(),
            any_success: false,
            reason: None,
            refusal: None,
            retry_after: None,
            probe: None,
            takes_others: false,
        }
    }

    /// From here on it counts on what the fleet shares.
    fn with(self, row: destination::Model) -> Self {
        let row = without_wrong_clocks(row, self.now);
        let streak = Streak { count: row.consecutive_failures, event: row.failing_event, since: row.failing_since };
        Self { row: Some(row), streak, ..self }
    }

    /// Counts the next outcome. Returns what it is blamed on if it failed. `in_time`: its lease lasts. A probe that fails after
    /// its lease does not move the next one, which may be under way.
    pub(in crate::outbox) fn count<R>(&mut self, attempt: &Attempt<R>, in_time: bool) -> Blame {
        let (event, outcome) = (&attempt.event, &attempt.outcome);
        let (mut probe, mut blame) = (Probe::Failed, Blame::Event);
        match outcome {
            // A refusal is an answer too: the destination is up.
            Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::LaneUnusable(_) => {
                self.succeed(event.probe);
                probe = Probe::Succeeded;
            }
            Outcome::NotSent(_) | Outcome::OutOfResources(_) | Outcome::PutOff(..) => {
                (probe, blame) = (Probe::Inconclusive, Blame::Destination);
            }
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
                let only_this_event = self.is_about_one_event(event);
                self.fail(Some(event.id), outcome);
                blame = if only_this_event { Blame::Event } else { Blame::Destination };
                if !only_this_event {
                    self.refusal.get_or_insert(Refusal::Forbidden);
                }
                // As long as one event alone has failed, another one shows whose fault it is. It need not wait for that.
                if only_this_event || self.streak.only_event().is_some() {
                    probe = Probe::Inconclusive;
                }
            }
            // Calls that began together end far apart if some of them time out: that they end in a row says nothing.
            Outcome::Unreachable(_) | Outcome::Retry(_) | Outcome::Unknown(_)
                if attempt.is_overtaken && !event.probe => {}
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
                let is_alone = self.streak.only_event() == Some(event.id);
                if event.probe && !is_alone && !self.delivered_recently {
                    blame = Blame::Destination;
                }
            }
        }
        if event.probe && (in_time || probe == Probe::Succeeded) {
            self.probe = Some((probe, outcome.error().map(str::to_owned)));
        }
        blame
    }

    /// A late success, of a call from before the circuit opened, says nothing about a destination that has failed since.
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

    /// Whether a 403 is about `event` alone: others were delivered since its last 403, or within the last cool-down and this is
    /// not one of several in a row.
    fn is_about_one_event(&self, event: &LeasedEvent) -> bool {
        let Streak { count, event: last, since } = self.streak;
        let again = Failure::all_in(&event.failures).pop().filter(|failure| failure.outcome == "unauthorised");
        if again.is_some_and(|failure| count == 0 || since.is_some_and(|since| failure.at < since)) {
            return true;
        }
        let in_a_row = if last == Some(event.id) { count } else { count.saturating_add(1) };
        self.delivered_recently && in_a_row < FORBIDDEN_IN_A_ROW
    }

    fn is_open(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.circuit == Circuit::Open)
    }

    /// Saves it for the fleet, if anything changed. `failures_counted`: whether a success ends a count of failures.
    pub(in crate::outbox) async fn save(
        mut self,
        txn: &DatabaseTransaction,
        name: &str,
        failures_counted: bool,
    ) -> Result<Option<DestinationChange>, DbErr> {
        let Some(before) = self.row.clone() else {
            if self.any_success && failures_counted {
                forget_failures(txn, name).await?;
            }
            return Ok(None);
        };
        let now = self.now;
        if before.circuit == Circuit::Closed && self.has_too_many() {
            self.takes_others = takes_others(txn, name, self.streak.count, now).await?;
        }
        let row = self.apply_to(before.clone());
        if row == before {
            return Ok(None);
        }
        let change = DestinationChange::between(&before, &row);
        let transition = (before.circuit, row.circuit);
        let reason = row.circuit_reason.clone();
        destination::Model { updated_at: now, ..row }.into_active_model().reset_all().update(txn).await?;
        openings::record(txn, name, transition, reason.as_deref(), now).await?;
        Ok(change)
    }

    fn has_too_many(&self) -> bool {
        u32::try_from(self.streak.count).is_ok_and(|count| count >= self.policy.circuit.failures)
    }

    /// The destination's row with these outcomes. Pure.
    fn apply_to(self, mut row: destination::Model) -> destination::Model {
        let Self { policy, now, .. } = self;
        let cooled_down = after(now, policy.circuit.cool_down);
        let not_before = self.retry_after.map(|wait| after(now, wait.min(policy.retry_after_max)));
        row.not_before = Ord::max(row.not_before, not_before);
        row.consecutive_failures = self.streak.count;
        row.failing_event = self.streak.event;
        row.failing_since = self.streak.since;
        let is_outage = self.has_too_many() && !self.takes_others;
        match (row.circuit, self.probe) {
            (Circuit::Open, Some((Probe::Succeeded, _))) => {
                row.circuit = Circuit::Closed;
                row.circuit_opened_at = None;
                row.circuit_reason = None;
                row.probe_at = None;
                row.callable_since = Some(now);
            }
            (Circuit::Open, Some((Probe::Failed, error))) => {
                row.probe_at = Some(cooled_down);
                // What keeps it open may be something else by now than what opened it.
                row.circuit_reason = error.or(row.circuit_reason);
            }
            (Circuit::Open, Some((Probe::Inconclusive, _))) => row.probe_at = Some(now),
            (Circuit::Closed, _) if self.refusal.is_some() || is_outage => {
                let one_is_forbidden = self.refusal == Some(Refusal::Forbidden) && self.streak.only_event().is_some();
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

/// Whether `attempts` may change more about their destination than a count of failures that a success ends.
fn may_change<R>(attempts: &[Attempt<R>]) -> bool {
    let mut failed = false;
    for Attempt { event, outcome, .. } in attempts {
        failed = match outcome {
            _ if event.probe => return true,
            Outcome::RetryAfter(..) | Outcome::Unauthorised(_) | Outcome::Forbidden(_) => return true,
            Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::LaneUnusable(_) => false,
            Outcome::NotSent(_) | Outcome::OutOfResources(_) | Outcome::PutOff(..) => failed,
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::Unknown(_)
            | Outcome::Broken(_)
            | Outcome::Misdirected { .. } => true,
        };
    }
    failed
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
