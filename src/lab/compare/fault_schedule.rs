//! What goes wrong and when, told by a seed: every design meets the same.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The faults of one run; times are counted from the first submission.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// When all processes of the design are killed, and started again.
    pub(super) crashes: Vec<Duration>,
    /// When the fee server goes away.
    pub(super) outage_from: Duration,
    /// When it is back.
    pub(super) outage_to: Duration,
}

impl Script {
    /// For a load that takes `load`: `crashes` at random moments of it, and an outage of a fifth of it after the middle.
    pub(super) fn new(seed: u64, load: Duration, crashes: usize) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut crashes: Vec<_> = (0..crashes).map(|_| load.mul_f64(dice.random_range(0.05..0.95))).collect();
        crashes.sort_unstable();
        Self { crashes, outage_from: load.mul_f64(0.55), outage_to: load.mul_f64(0.75) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_crashes() {
        let (load, script) = (Duration::from_secs(15), |seed| Script::new(seed, Duration::from_secs(15), 5).crashes);
        assert_eq!(script(7), script(7));
        assert_ne!(script(7), script(8));
        assert!(script(7).is_sorted() && script(7).iter().all(|at| *at < load));
    }
}
