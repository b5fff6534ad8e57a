//! The limit of calls of a worker in a simulation, where time is an argument.

use std::time::Instant;

use super::{
    SLOT_SECONDS,
    control::Control,
    floor,
    sign::{Sign, as_f64},
};
use crate::outbox::Outcome;

/// The limit of one simulated worker.
#[derive(Debug)]
pub(crate) struct LimitOnPaper {
    control: Control,
    zero: Instant,
}

impl LimitOnPaper {
    /// Starts at `max`. Experiments are made at times that count from `zero`.
    pub(crate) fn new(max: usize, zero: Instant) -> Self {
        Self { control: Control::new(as_f64(max.max(1))), zero }
    }

    /// The most deliveries at once.
    pub(crate) fn limit(&self, now: Instant) -> usize {
        floor(self.control.limit(now))
    }

    /// How many more may begin while `in_flight` run.
    pub(crate) fn places(&mut self, in_flight: usize, now: Instant) -> usize {
        let resting = self.control.resting(now, self.slot(now));
        self.limit(now).saturating_sub(in_flight + resting)
    }

    /// When the next resting place is free.
    pub(crate) fn rested(&self) -> Option<Instant> {
        self.control.rested()
    }

    /// Starts again with one delivery at a time.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.control.restart(now);
    }

    /// A delivery begins.
    pub(crate) fn began(&mut self, now: Instant) {
        self.control.call_began(now);
    }

    /// A delivery that was begun at `begun` has ended.
    pub(crate) fn ended<R>(&mut self, outcome: &Outcome<R>, begun: Instant, now: Instant) {
        self.control.call_ended(Sign::from(outcome), begun, now, self.slot(now));
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.zero).as_secs() / SLOT_SECONDS
    }
}
