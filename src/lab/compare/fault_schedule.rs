//! When the faults of the storm happen. The same seed gives the same times, for every design.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The faults of one run; times count from the first submission.
#[derive(Clone, Debug)]
pub(super) struct FaultSchedule {
    /// When all processes of the design are killed and restarted.
    pub(super) crashes: Vec<Duration>,
    /// When the destination becomes unavailable.
    pub(super) outage_from: Duration,
    /// When it is available again.
    pub(super) outage_to: Duration,
}

impl FaultSchedule {
    /// For a load of this duration: `crashes` at random moments, and an outage of a fifth of it after the middle.
    pub(super) fn new(seed: u64, load: Duration, crashes: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut crashes: Vec<_> = (0..crashes).map(|_| load.mul_f64(rng.random_range(0.05..0.95))).collect();
        crashes.sort_unstable();
        Self { crashes, outage_from: load.mul_f64(0.55), outage_to: load.mul_f64(0.75) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_crashes() {
        let (load, schedule) =
            (Duration::from_secs(15), |seed| FaultSchedule::new(seed, Duration::from_secs(15), 5).crashes);
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
        assert!(schedule(7).is_sorted() && schedule(7).iter().all(|at| *at < load));
    }
}
