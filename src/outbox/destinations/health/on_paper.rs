//! What the fleet shares about a destination, and what attempts make of it, without a database: for simulations.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::destination::{Circuit, Model};
use serde_json::Value;
use uuid::Uuid;

use super::{Blame, DestinationHealth, others::MOMENT};
use crate::{
    clock::after,
    outbox::{
        Attempt, DestinationName, Disposition, EventType, Hold, LeasedEvent, Outcome, Policy, destinations::hold_of,
        disposition,
    },
};

const NAME: DestinationName = DestinationName::from_static("on-paper");
const EVENT_TYPE: EventType = EventType::from_static("on-paper");

/// A destination's row, kept in memory.
#[derive(Debug)]
pub(crate) struct DestinationOnPaper {
    row: Model,
    policy: Policy,
    delivered_at: Option<DateTime<Utc>>,
}

/// What a claim may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermitOnPaper {
    /// All that is due.
    All,
    /// The fleet's only probe.
    Probe,
    /// Nothing for so long; the circuit is open.
    Open(Duration),
    /// Nothing for so long.
    Held(Duration),
}

impl DestinationOnPaper {
    /// All is well.
    pub(crate) fn new(policy: Policy, now: DateTime<Utc>) -> Self {
        let row = Model {
            name: NAME.to_string(),
            paused_at: None,
            paused_by: None,
            pause_reason: None,
            not_before: None,
            circuit: Circuit::Closed,
            consecutive_failures: 0,
            circuit_opened_at: None,
            circuit_reason: None,
            probe_at: None,
            updated_at: now,
            failing_event: None,
            failing_since: None,
            callable_since: None,
            lists_fees_at: None,
            limit_per_second: None,
            limit_in_flight: None,
            next_call_at: None,
        };
        Self { row, policy, delivered_at: None }
    }

    /// Whether something holds it back.
    pub(crate) fn is_held(&self, now: DateTime<Utc>) -> bool {
        hold_of(&self.row, now).is_some()
    }

    /// Whether its circuit is open.
    pub(crate) fn is_open(&self) -> bool {
        self.row.circuit == Circuit::Open
    }

    /// What a claim may take now. One that has something to send then takes the probe.
    pub(crate) fn permit(&self, now: DateTime<Utc>) -> PermitOnPaper {
        let wait = |until: DateTime<Utc>| (until - now).to_std().unwrap_or_default();
        match hold_of(&self.row, now) {
            None => PermitOnPaper::All,
            Some(Hold::CircuitOpen(at)) if at <= now => PermitOnPaper::Probe,
            Some(Hold::CircuitOpen(at)) => PermitOnPaper::Open(wait(at)),
            Some(Hold::NotBefore(until)) => PermitOnPaper::Held(wait(until)),
            Some(Hold::Paused) => PermitOnPaper::Held(Duration::MAX),
        }
    }

    /// Takes the probe for `lease`.
    pub(crate) fn take_probe(&mut self, now: DateTime<Utc>, lease: Duration) {
        self.row.probe_at = Some(after(now, lease));
    }

    /// What a transaction that settles `attempts` makes of their events, and whether each attempt is spent. `in_flight` calls of the
    /// fleet go on.
    pub(crate) fn settle(
        &mut self,
        attempts: &[Attempt<()>],
        in_flight: usize,
        now: DateTime<Utc>,
    ) -> Vec<(Disposition, bool)> {
        if attempts.iter().any(|attempt| matches!(attempt.outcome, Outcome::Delivered(()))) {
            self.delivered_at = Some(now);
        }
        let mut health = DestinationHealth::unchanged(&self.policy, now).with(self.row.clone());
        health.delivered_recently = self.delivered_at.is_some_and(|at| after(at, self.policy.circuit.cool_down) > now);
        let became = attempts.iter().map(|attempt| {
            let blame = health.count(attempt, true);
            (disposition(attempt, false, blame, &self.policy, now), blame == Blame::Event)
        });
        let became = became.collect();
        let failed = usize::try_from(health.streak.count).unwrap_or(0);
        health.takes_others = in_flight > failed && self.delivered_at.is_some_and(|at| after(at, MOMENT) > now);
        self.row = Model { updated_at: now, ..health.apply_to(self.row.clone()) };
        became
    }
}

/// An event in the hands of a worker.
pub(crate) fn leased_on_paper(id: Uuid, attempt: i32, probe: bool, lease_ends: Instant) -> LeasedEvent {
    LeasedEvent {
        id,
        aggregate_id: id,
        event_type: EVENT_TYPE.clone(),
        destination: NAME.clone(),
        partner: String::new(),
        payload: Value::Null,
        trace_context: None,
        attempt,
        outcome_unknown: false,
        probe,
        lane: None,
        created_at: DateTime::UNIX_EPOCH,
        live_since: DateTime::UNIX_EPOCH,
        lease_token: Uuid::nil(),
        lease_ends,
        failures: Value::Array(Vec::new()),
    }
}
