//! When no call may begin: events that were claimed go back, without spending their attempt.

use std::time::Duration;

use sea_orm::DbErr;

use super::Run;
use crate::{
    destination::Destination,
    outbox::{Attempt, DestinationName, Hold, LeasedEvent, Outcome},
    worker::{
        hold::Clearance,
        logging,
        settle::{Held, held_now},
    },
};

const HELD: &str = "its destination is to be left alone";

impl<D: Destination> Run<'_, D> {
    /// Whether calls may begin. Not under a hold, nor while a result that may begin one is being settled, nor when the
    /// fleet's holds were read too long ago.
    pub(super) fn may_call(&self) -> bool {
        !self.is_held() && self.clearance.is_valid()
    }

    pub(super) fn is_held(&self) -> bool {
        self.worker.hold.is_active() || !self.urgent.is_empty() || self.settling_urgent.is_running()
    }

    /// Reads the fleet's holds, as long as events wait to be sent.
    pub(super) fn begin_poll_of_holds(&mut self) {
        if !self.polling_holds.is_running() && !self.waiting.is_empty() && self.clearance.is_poll_due() {
            let worker = self.worker;
            self.polling_holds.start(worker.in_time(held_now(worker)));
        }
    }

    pub(super) fn polled_holds(&mut self, held: Result<Held, DbErr>) {
        match held {
            Ok(Held { hold: held, lanes }) => {
                self.clearance = Clearance::as_of(std::time::Instant::now());
                self.lanes_are_held(lanes);
                self.note_pause(held.as_ref());
                self.hold_back(held.as_ref());
            }
            Err(error) => {
                self.clearance = self.clearance.poll_failed();
                tracing::warn!(error = logging::chain(&error), "could not read the holds, calls wait");
            }
        }
    }

    /// Whether the circuit of the event's lane is open, and it is not its probe.
    pub(super) fn is_lane_held(&self, event: &LeasedEvent) -> bool {
        !event.probe && event.lane.is_some_and(|lane| self.held_lanes.contains(&lane))
    }

    /// The circuits of these lanes are open, as was read a moment ago. Their probes are looked for again after a cool-down.
    pub(super) fn lanes_are_held(&mut self, lanes: Vec<&'static DestinationName>) {
        if lanes.iter().any(|lane| !self.held_lanes.contains(lane)) {
            self.worker.hold.ends_in_at_most(self.worker.policy.circuit.cool_down);
        }
        self.held_lanes = lanes;
    }

    /// Logs that an operator's pause has begun or ended.
    pub(super) fn note_pause(&self, held: Option<&Hold>) {
        let destination = self.worker.destination().as_str();
        match self.worker.hold.pause_changed(held) {
            Some(true) => tracing::warn!(destination, "an operator paused the destination: nothing is delivered"),
            Some(false) => tracing::info!(destination, "the destination is not paused any more"),
            None => {}
        }
    }

    /// Hands back what was claimed before the hold was known. Not so the probe of an open circuit, which may go.
    pub(super) fn hold_back(&mut self, held: Option<&Hold>) {
        let Some(held) = held else { return };
        let may_go = |event: &LeasedEvent| event.probe && matches!(held, Hold::CircuitOpen(_));
        let (probes, others): (Vec<_>, Vec<_>) = self.waiting.take().partition(may_go);
        self.waiting.extend(probes);
        for event in others {
            self.hand_back(event, HELD);
        }
    }

    /// Nothing more is sent by a worker that is drained, or under a hold.
    pub(super) fn hand_back_if_stopped(&mut self) {
        let why = if self.worker.signals.drain.is_cancelled() {
            "the worker is shutting down"
        } else if self.worker.hold.is_active() {
            HELD
        } else {
            return;
        };
        for event in self.waiting.take() {
            self.hand_back(event, why);
        }
    }

    pub(super) fn hand_back(&mut self, event: LeasedEvent, why: &str) {
        let outcome = Outcome::NotSent(why.into());
        self.finished.push(Attempt { event, outcome, took: Duration::ZERO, is_overtaken: false });
    }
}
