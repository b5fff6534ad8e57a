//! How many deliveries may be in the air: adapts to what the destination bears.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain 1989, as in TCP's congestion avoidance), with a gentle
//! proportional increase so that 256 is reached from 1 in about fifty round trips instead of 256.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::outbox::Outcome;

/// The rise a round trip, as a part of the limit; at least one delivery.
const RISE: f64 = 0.1;

/// The limit of one worker.
#[derive(Debug)]
pub(super) struct Limiter {
    max: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: f64,
    lowered_at: Option<Instant>,
}

impl Limiter {
    /// Starts at `max`: there is no sign of trouble yet.
    #[expect(clippy::cast_precision_loss, reason = "concurrency is far below 2^52")]
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self { max, state: Mutex::new(State { limit: max, lowered_at: None }) }
    }

    /// At least 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and max, which was a usize")]
    pub(super) fn limit(&self) -> usize {
        self.lock().limit as usize
    }

    /// Begins anew from one delivery at a time: the circuit was open, what comes back must not be stampeded.
    pub(super) fn restart(&self) {
        self.lock().limit = 1.0;
    }

    /// Learns from a delivery that was begun at `begun`. Of many that fail together only the first lowers the limit:
    /// those begun before it was lowered tell nothing new.
    pub(super) fn learn<R>(&self, outcome: &Outcome<R>, begun: Instant) {
        let mut state = self.lock();
        match outcome {
            Outcome::Delivered(_) | Outcome::Refused(_) => {
                let rise = (state.limit * RISE).max(1.0) / state.limit;
                state.limit = (state.limit + rise).min(self.max);
            }
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::RetryAfter(..)
            | Outcome::Unknown(_)
            | Outcome::Misdirected { .. }
            | Outcome::OutOfResources(_) => {
                if state.lowered_at.is_none_or(|lowered_at| begun > lowered_at) {
                    state.limit = (state.limit / 2.0).max(1.0);
                    state.lowered_at = Some(Instant::now());
                }
            }
            Outcome::Broken(_) | Outcome::Unauthorised(_) | Outcome::Forbidden(_) | Outcome::NotSent(_) => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: Outcome<()> = Outcome::Delivered(());

    fn failure() -> Outcome<()> {
        Outcome::Retry("503".into())
    }

    #[test]
    fn failures_of_one_round_trip_halve_the_limit_once() {
        let limiter = Limiter::new(256);
        let begun = Instant::now();
        (0..256).for_each(|_| limiter.learn(&failure(), begun));
        assert_eq!(limiter.limit(), 128);
        limiter.learn(&failure(), Instant::now());
        assert_eq!(limiter.limit(), 64);
    }

    #[test]
    fn the_limit_never_falls_below_one_nor_rises_above_its_maximum() {
        let limiter = Limiter::new(4);
        (0..10).for_each(|_| limiter.learn(&failure(), Instant::now()));
        assert_eq!(limiter.limit(), 1);
        (0..1_000).for_each(|_| limiter.learn(&SUCCESS, Instant::now()));
        assert_eq!(limiter.limit(), 4);
    }

    #[test]
    fn after_an_open_circuit_the_limit_rises_from_one_over_many_round_trips() {
        let limiter = Limiter::new(256);
        limiter.restart();
        let mut round_trips = 0;
        while limiter.limit() < 256 {
            (0..limiter.limit()).for_each(|_| limiter.learn(&SUCCESS, Instant::now()));
            round_trips += 1;
        }
        assert!((40..80).contains(&round_trips), "{round_trips}");
    }
}
