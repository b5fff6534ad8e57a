//! When a run claims again under the limits of the fleet.
//!
//! A claim that brought something is followed by the next one as soon as a call may begin, but at least a moment later, so that
//! several calls share a claim. One that brought nothing is followed later and later, and at a time of its own: most of the calls
//! are begun by few workers then, and the others do not ask in vain all the time.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Run;
use crate::{destination::Destination, outbox::Claim};

/// The pause after a claim that brought something.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: a limit that is taken away or raised holds within a second.
const PAUSE_MAX: Duration = Duration::from_millis(800);

/// What a run knows of the limits.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// Claims in a row that brought nothing.
    in_vain: u32,
    /// When it claims again; none without limits.
    again_at: Option<Instant>,
    /// Not the time holds the next call back, but calls in flight.
    until_calls_end: bool,
}

impl Limited {
    /// Whether the fleet had limits when it was last asked.
    pub(super) fn is_in_force(&self) -> bool {
        self.again_at.is_some()
    }

    /// Whether the run waits for the next claim.
    pub(super) fn waits(&self) -> bool {
        self.again_at.is_some_and(|at| at > Instant::now())
    }

    /// When to claim again after a claim that may go on after `wait`; none without limits.
    fn after(&mut self, wait: Option<Duration>, has_brought: bool) -> Option<Instant> {
        self.in_vain = if has_brought { 0 } else { self.in_vain.saturating_add(1) };
        self.until_calls_end = wait == Some(Duration::ZERO);
        self.again_at = wait.map(|wait| Instant::now() + wait.max(self.pause()));
        self.again_at
    }

    fn pause(&self) -> Duration {
        if self.in_vain == 0 {
            return PAUSE;
        }
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.in_vain)).min(PAUSE_MAX);
        rand::rng().random_range(pause / 2..=pause)
    }
}

impl<D: Destination> Run<'_, D> {
    /// Puts the next claim off until a call may begin.
    pub(super) fn keep_limits(&mut self, claim: &Claim) {
        if let Some(again_at) = self.limited.after(claim.limited, !claim.events.is_empty()) {
            self.claims.put_off(again_at);
        }
    }

    /// Calls of this worker have ended and are settled: others may begin instead.
    pub(super) fn calls_have_ended(&mut self) {
        if self.limited.waits() && self.limited.until_calls_end {
            let again_at = Instant::now();
            (self.limited.in_vain, self.limited.again_at) = (0, Some(again_at));
            self.claims.put_off(again_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_in_vain_become_rare_and_a_claim_that_brings_something_ends_that() {
        let mut limited = Limited::default();
        assert_eq!(limited.after(None, false), None);
        for _ in 0..50 {
            let at = limited.after(Some(Duration::ZERO), false).expect("a time");
            assert!(at <= Instant::now() + PAUSE_MAX);
        }
        assert!(limited.pause() >= PAUSE_MAX / 2);
        limited.after(Some(Duration::ZERO), true);
        assert!(limited.pause() == PAUSE && limited.is_in_force());
        let at = limited.after(Some(Duration::from_secs(1)), true).expect("a time");
        assert!(at > Instant::now() + PAUSE_MAX, "a limit of one a second");
    }
}
