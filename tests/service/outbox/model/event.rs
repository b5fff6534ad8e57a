//! What the model knows of an event.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use feebox::clock::after;
use feebox::outbox::Outcome;
use uuid::Uuid;

use super::{COOL_DOWN, GIVE_UP_AFTER, MAX_ATTEMPTS, RETRY_AFTER_MAX};

/// What the model knows of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub quote: Uuid,
    pub sequence: i32,
    pub status: Status,
    pub attempts: i32,
    pub due_at: DateTime<Utc>,
    pub live_since: DateTime<Utc>,
    pub lease: Option<(Uuid, DateTime<Utc>)>,
    pub outcome_unknown: bool,
    pub withdrawn: bool,
    /// When attempts failed, and how: the last 20.
    pub failed: Vec<(DateTime<Utc>, String)>,
    pub settled_at: Option<DateTime<Utc>>,
}

impl Event {
    /// `blames` tells whether the failure is held against the event, `live_since` from when its age counts.
    pub fn end_attempt(
        &mut self,
        outcome: &Outcome<()>,
        probe: bool,
        blames: bool,
        live_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        self.lease = None;
        if *outcome == Outcome::Delivered(()) {
            (self.status, self.settled_at) = (Status::Delivered, Some(now));
            return;
        }
        let failed: Vec<_> = self.failed.iter().map(|(at, _)| *at).filter(|at| *at >= live_since).collect();
        let failing_since = if failed.len() == 20 { live_since } else { failed.first().copied().unwrap_or(now) };
        let attempt = self.attempts;
        let given_up = attempt.unsigned_abs() >= MAX_ATTEMPTS || attempt >= 5 && now >= failing_since + GIVE_UP_AFTER;
        self.attempts -= i32::from(!blames);
        if !outcome.is_unsent() {
            self.failed.push((now, outcome.name().into()));
            self.failed.drain(..self.failed.len().saturating_sub(20));
        }
        self.outcome_unknown |= outcome.name() == "unknown" || matches!(outcome, Outcome::Broken(_));
        let number = i32::try_from(failed.len()).unwrap() + 1;
        let at_least = if probe { COOL_DOWN } else { Duration::ZERO };
        let wait = match outcome {
            _ if self.withdrawn => None,
            Outcome::Refused(_) | Outcome::Broken(_) => None,
            _ if outcome.is_unsent() => Some(None),
            Outcome::RetryAfter(_, wait) => Some(Some((*wait).clamp(delay(1), RETRY_AFTER_MAX))),
            Outcome::Misdirected { .. } => Some(Some(delay(attempt.max(number)).max(at_least))),
            _ if !blames => Some(Some(COOL_DOWN)),
            _ if given_up => None,
            _ => Some(Some(delay(attempt).max(at_least))),
        };
        if let Some(wait) = wait {
            self.status = Status::Pending;
            self.due_at = wait.map_or(self.due_at, |wait| after(now, wait));
        } else {
            self.status = if self.withdrawn { Status::Cancelled } else { Status::Dead };
            self.settled_at = Some(now);
        }
    }
}

pub fn delivered_after(events: &BTreeMap<Uuid, Event>, after: DateTime<Utc>) -> bool {
    let mut delivered = events.values().filter(|event| event.status == Status::Delivered);
    delivered.any(|event| event.settled_at.is_some_and(|at| at > after))
}

/// What `row` remembers of its failures.
pub fn failed(row: &entity::outbox_event::Model) -> Vec<(DateTime<Utc>, String)> {
    let of = |failure: &serde_json::Value| {
        let at = failure["at"].as_str().unwrap().parse().unwrap();
        (at, failure["outcome"].as_str().unwrap().to_owned())
    };
    row.failures.as_array().unwrap().iter().map(of).collect()
}

/// 10 s, 20 s, then 30 s.
pub fn delay(attempt: i32) -> Duration {
    Duration::from_secs(10 * u64::from(attempt.unsigned_abs().min(3)))
}
