//! How many deliveries may run at once: as many as the destination bears.
//!
//! A failure alone proves no overload. What counts is whether fewer calls fail less, or are answered faster: when more calls
//! fail than usual, an experiment takes a part of them away and compares (`experiment`). If it was our load, the limit falls to
//! what succeeded. If not, it goes back at once, and that share of failures is remembered as usual for this destination
//! (`control`). `docs/adr/0014-overload-is-proven-by-experiment.md` gives the reasons.

mod ceiling;
mod chance;
mod control;
mod experiment;
#[cfg(feature = "lab")]
mod on_paper;
mod rest;
mod sign;
mod slots;
mod tally;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use control::Control;
#[cfg(feature = "lab")]
pub(crate) use on_paper::LimitOnPaper;
use parking_lot::{Mutex, MutexGuard};
use sign::{Sign, as_f64};

use crate::outbox::{DestinationName, Outcome};

/// Seconds between two regular experiments, at first. Counted on the wall clock, so that all workers of a fleet make them
/// together: otherwise another worker takes the places that one gives up.
const SLOT_SECONDS: u64 = 30;
/// The limit is low below this part of its maximum, and back above the other.
const LOW: (f64, f64) = (0.5, 0.9);

/// The limit of one worker.
#[derive(Debug)]
pub(super) struct Limiter {
    destination: DestinationName,
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    control: Control,
    is_low: bool,
}

impl Limiter {
    /// Starts at `max`: there is no sign of trouble yet.
    pub(super) fn new(destination: DestinationName, max: usize) -> Self {
        let max = max.max(1);
        let state = State { control: Control::new(as_f64(max)), is_low: false };
        Self { destination, max, state: Mutex::new(state) }
    }

    /// The most deliveries at once: from 1 to the maximum.
    pub(super) fn limit(&self) -> usize {
        floor(self.lock().control.limit(Instant::now()))
    }

    /// How many more may begin while `in_flight` run. The place of a call that failed at once stays taken for as long as a
    /// success takes.
    pub(super) fn places(&self, in_flight: usize) -> usize {
        let (mut state, now) = (self.lock(), Instant::now());
        let taken = in_flight + state.control.resting(now, slot());
        floor(state.control.limit(now)).saturating_sub(taken)
    }

    /// When the next such place is free.
    pub(super) fn rested(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.control.resting(Instant::now(), slot());
        state.control.rested()
    }

    /// The share of calls that failed lately.
    pub(super) fn failure_share(&self) -> f64 {
        self.lock().control.failure_share()
    }

    /// A run begins, and no delivery runs.
    pub(super) fn run_begins(&self) {
        self.lock().control.run_begins();
    }

    /// Starts again with one delivery at a time: the circuit was open, and a destination that comes back must not be
    /// stampeded.
    pub(super) fn restart(&self) {
        self.lock().control.restart(Instant::now());
    }

    /// A delivery begins at `begun`.
    pub(super) fn begin(&self, begun: Instant) {
        self.lock().control.call_began(begun);
    }

    /// Learns from a delivery that was begun at `begun`.
    pub(super) fn learn<R>(&self, outcome: &Outcome<R>, begun: Instant) {
        let mut state = self.lock();
        state.control.call_ended(Sign::from(outcome), begun, Instant::now(), slot());
        let State { control, is_low } = &mut *state;
        let part = control.level() / as_f64(self.max);
        let (destination, max) = (self.destination.as_str(), self.max);
        let (limit, failure_share) = (floor(control.level()), control.failure_share());
        if !*is_low && part < LOW.0 && self.max > 1 {
            *is_low = true;
            tracing::warn!(
                destination,
                limit,
                max,
                failure_share,
                "the limit of calls fell: the destination is overloaded"
            );
        } else if *is_low && part >= LOW.1 {
            *is_low = false;
            tracing::info!(destination, limit, max, failure_share, "the limit of calls is back");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn slot() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / SLOT_SECONDS)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and max, which was a usize")]
fn floor(limit: f64) -> usize {
    limit as usize
}
