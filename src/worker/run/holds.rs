//! A run that is not to call: what it claimed goes back, and what it was told is written down first.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{Run, settle};
use crate::{
    destination::Destination,
    outbox::{self, Attempt, Claim, Hold, LeasedEvent, Outcome},
    worker::{hold::Clearance, tell},
};

/// How long a process that lacks descriptors or memory begins no calls.
const OUT_OF_RESOURCES: Duration = Duration::from_secs(1);

impl<D: Destination> Run<'_, D> {
    /// Whether calls may begin. Not while a hold is in force, nor while an answer that may begin one is being written down, nor
    /// by what was seen of the fleet's holds too long ago.
    pub(super) fn may_call(&self) -> bool {
        !self.is_held() && self.clearance.holds()
    }

    pub(super) fn is_held(&self) -> bool {
        self.worker.hold.holds() || !self.urgent.is_empty() || self.settling_urgent.is_some()
    }

    /// Keeps what a delivery came to until it is settled: at once, past all that waits, if it may begin a hold.
    pub(super) fn keep(&mut self, attempt: Attempt<D::Receipt>) {
        let policy = &self.worker.policy;
        let urgent = match &attempt.outcome {
            Outcome::RetryAfter(_, wait) => self.worker.hold.lengthen((*wait).min(policy.retry_after_max)),
            Outcome::Unauthorised(_) | Outcome::Forbidden(_) => true,
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::Unknown(_)
            | Outcome::Misdirected { .. }
            | Outcome::Broken(_) => {
                self.failed_in_a_row.insert(attempt.event.id);
                let opens = u32::try_from(self.failed_in_a_row.len()).is_ok_and(|it| it >= policy.circuit.failures);
                if opens {
                    // The fleet counts them, too, and in the order in which they came.
                    self.urgent.append(&mut self.finished);
                }
                opens
            }
            Outcome::Delivered(_) | Outcome::Refused(_) => {
                self.failed_in_a_row.clear();
                false
            }
            Outcome::OutOfResources(_) => {
                self.worker.hold.lengthen(OUT_OF_RESOURCES);
                false
            }
            Outcome::NotSent(_) => false,
        };
        if urgent { self.urgent.push(attempt) } else { self.finished.push(attempt) }
    }

    /// On a connection of its own: a slow batch that is being settled does not keep the fleet from knowing.
    pub(super) fn begin_urgent_settle(&mut self) {
        if self.settling_urgent.is_none() && !self.urgent.is_empty() && self.settles.is_due() {
            let some = self.urgent.len().min(self.settles.size());
            let attempts = self.urgent.drain(..some).collect();
            self.settling_urgent = Some(Box::pin(settle(self.worker, attempts)));
        }
    }

    pub(super) fn take(&mut self, claim: Claim) {
        let probe = claim.events.iter().any(|event| event.probe);
        if probe || matches!(claim.hold, Some(Hold::CircuitOpen(_))) {
            self.worker.limiter.restart();
        }
        if let Some(wait) = claim.hold_remaining {
            // The probe of another worker may close a circuit long before its lease ends.
            let open = matches!(claim.hold, Some(Hold::CircuitOpen(_)));
            let looks_again = if open { self.worker.policy.circuit.cool_down } else { wait };
            self.worker.hold.wake_in(wait.min(looks_again));
        }
        self.exhausted = !claim.is_full || probe;
        self.worker.watch(&claim, self.in_flight.len());
        self.report.claimed += claim.events.len();
        self.waiting.extend(claim.events);
        self.clearance = Clearance::seen(self.claim_begun);
    }

    /// Looks at the fleet's holds, as long as something waits to be sent.
    pub(super) fn begin_look(&mut self) {
        if self.looking.is_none() && !self.waiting.is_empty() && Instant::now() >= self.clearance.look_at() {
            let worker = self.worker;
            let look = outbox::hold_now(&worker.db, worker.destination.name());
            self.looking = Some(Box::pin(worker.in_time(look)));
        }
    }

    pub(super) fn note_look(&mut self, looked: Result<Option<Hold>, sea_orm::DbErr>) {
        match looked {
            Ok(held) => {
                self.clearance = Clearance::seen(Instant::now());
                self.hold_back(held.as_ref());
            }
            Err(error) => {
                self.clearance = self.clearance.not_seen();
                tracing::warn!(error = %tell::chain(&error), "could not look for holds, calls wait");
            }
        }
    }

    /// The destination is to be left alone: what was claimed before that was known goes back, without spending its attempt.
    /// Not so the probe of an open circuit, which is what has leave to go.
    pub(super) fn hold_back(&mut self, held: Option<&Hold>) {
        let Some(held) = held else { return };
        let keeps = |event: &LeasedEvent| event.probe && matches!(held, Hold::CircuitOpen(_));
        let (probes, others) = mem::take(&mut self.waiting).into_iter().partition(keeps);
        self.waiting = probes;
        for event in others {
            self.hand_back(event, "its destination is to be left alone");
        }
    }

    pub(super) fn hand_back_if_held(&mut self) {
        if self.worker.hold.holds() {
            self.hand_back_all("its destination is to be left alone");
        }
    }

    pub(super) fn hand_back_if_drained(&mut self) {
        if self.worker.signals.drain.is_cancelled() {
            self.hand_back_all("the worker is shutting down");
        }
    }

    fn hand_back_all(&mut self, why: &str) {
        for event in mem::take(&mut self.waiting) {
            self.hand_back(event, why);
        }
    }

    pub(super) fn hand_back(&mut self, event: LeasedEvent, why: &str) {
        self.finished.push(Attempt { event, outcome: Outcome::NotSent(why.into()), took: Duration::ZERO });
    }
}
