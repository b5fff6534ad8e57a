//! What the model knows of the destination.

use chrono::{DateTime, Utc};
use feebox::clock::after;
use feebox::outbox::{LeasedEvent, Outcome};
use uuid::Uuid;

use super::{CIRCUIT_FAILURES, COOL_DOWN, RETRY_AFTER_MAX};

/// What the model knows of the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    pub open: bool,
    pub failures: i32,
    pub failing: Option<Uuid>,
    pub failing_since: Option<DateTime<Utc>>,
    pub probe_at: Option<DateTime<Utc>>,
    pub not_before: Option<DateTime<Utc>>,
    pub callable_since: Option<DateTime<Utc>>,
}

/// What else happens.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// When this event was last forbidden.
    pub forbidden_at: Option<DateTime<Utc>>,
    /// An event was delivered within the last cool-down.
    pub delivered_lately: bool,
    /// An event was delivered within the last five seconds.
    pub delivered_now: bool,
    /// Leases that have not ended.
    pub in_flight: usize,
}

impl Others {
    /// The destination takes some, though so many have failed in a row.
    fn are_taken(self, failures: i32) -> bool {
        self.delivered_now && i32::try_from(self.in_flight).unwrap() > failures
    }
}

impl Gate {
    /// Answers whether a failure is held against its event. `in_time`: its lease lasts.
    pub fn learn(
        &mut self,
        leased: &LeasedEvent,
        outcome: &Outcome<()>,
        in_time: bool,
        others: Others,
        now: DateTime<Utc>,
    ) -> bool {
        let is_probe = self.open && leased.probe;
        // Of one that is late another may be under way.
        let moves_probe = is_probe && in_time;
        let cooled_down = Some(after(now, COOL_DOWN));
        match outcome {
            Outcome::Delivered(()) | Outcome::Refused(_) => {
                if is_probe {
                    (self.open, self.probe_at, self.callable_since) = (false, None, Some(now));
                }
                if !self.open {
                    (self.failures, self.failing, self.failing_since) = (0, None, None);
                }
                return true;
            }
            Outcome::NotSent(_) | Outcome::OutOfResources(_) => {
                self.probe_at = if moves_probe { Some(now) } else { self.probe_at };
                return false;
            }
            Outcome::RetryAfter(_, wait) => {
                self.not_before = self.not_before.max(Some(after(now, (*wait).min(RETRY_AFTER_MAX))));
                self.probe_at = if moves_probe { cooled_down } else { self.probe_at };
                return false;
            }
            _ => {}
        }
        let Others { forbidden_at, delivered_lately, .. } = others;
        let succeeded_since = |at| self.failures == 0 || self.failing_since.is_some_and(|since| at < since);
        let known = forbidden_at.is_some_and(succeeded_since);
        self.count((!matches!(outcome, Outcome::Unauthorised(_) | Outcome::Unreachable(_))).then_some(leased.id), now);
        let forbidden = matches!(outcome, Outcome::Forbidden(_));
        let its_own = forbidden && (known || delivered_lately && self.failures < 3);
        let refused = matches!(outcome, Outcome::Unauthorised(_)) || forbidden && !its_own;
        // As long as one event alone is forbidden, another one may show at once what is to blame.
        let at_once = forbidden && self.alone().is_some();
        if moves_probe {
            self.probe_at = if at_once || its_own { Some(now) } else { cooled_down };
        } else if !self.open && (refused || self.failures >= CIRCUIT_FAILURES && !others.are_taken(self.failures)) {
            self.open = true;
            self.probe_at = if at_once && refused { Some(now) } else { cooled_down };
        }
        match outcome {
            Outcome::Forbidden(_) => its_own,
            Outcome::Unauthorised(_) | Outcome::Misdirected { .. } => false,
            Outcome::Unreachable(_) => !leased.probe,
            Outcome::Retry(_) | Outcome::Unknown(_) => {
                !leased.probe || self.alone() == Some(leased.id) || delivered_lately
            }
            _ => true,
        }
    }

    /// The only event that has failed since the last success.
    pub fn alone(&self) -> Option<Uuid> {
        self.failing.filter(|_| self.failures == 1)
    }

    /// One event that fails again and again counts once.
    pub fn count(&mut self, cause: Option<Uuid>, now: DateTime<Utc>) {
        if self.failures == 0 {
            (self.failures, self.failing, self.failing_since) = (1, cause, Some(now));
        } else if cause.is_none() || self.failing != cause {
            (self.failures, self.failing) = (self.failures + 1, cause);
        }
    }

    /// From when the age of events counts at the earliest.
    pub fn callable(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let held = self.open || self.not_before.is_some_and(|until| until > now);
        if held { Some(now) } else { self.callable_since.max(self.not_before) }
    }
}
