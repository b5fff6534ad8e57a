//! How many deliveries begin within a moment: no more events are claimed ahead.
//!
//! What waits here was due when it was claimed, so that an event of another partner, which comes later, waits behind it. A stock
//! for a quarter of a second keeps the places busy while the next claim runs, and delays nobody by more than that.

use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(250);

/// Deliveries that began in this moment, and in the one before.
#[derive(Debug)]
pub(super) struct Flow {
    since: Instant,
    now: usize,
    before: usize,
}

impl Flow {
    pub(super) fn since(now: Instant) -> Self {
        Self { since: now, now: 0, before: 0 }
    }

    /// A delivery began.
    pub(super) fn began(&mut self, at: Instant) {
        self.roll(at);
        self.now += 1;
    }

    /// How many begin within a moment, as far as is known at `at`.
    pub(super) fn of_a_moment(&mut self, at: Instant) -> usize {
        self.roll(at);
        self.now.max(self.before)
    }

    fn roll(&mut self, at: Instant) {
        let passed = at.saturating_duration_since(self.since);
        if passed >= 2 * MOMENT {
            *self = Self::since(at);
        } else if passed >= MOMENT {
            *self = Self { since: self.since + MOMENT, now: 0, before: self.now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_follows_what_begins() {
        let zero = Instant::now();
        let mut flow = Flow::since(zero);
        assert_eq!(flow.of_a_moment(zero), 0);
        for n in 0..100 {
            flow.began(zero + Duration::from_millis(n * 10));
        }
        assert_eq!(flow.of_a_moment(zero + Duration::from_secs(1)), 25);
        assert_eq!(flow.of_a_moment(zero + Duration::from_secs(2)), 0, "nothing began for long");
    }
}
