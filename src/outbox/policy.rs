//! What decides what follows a failed attempt.

use std::time::Duration;

use super::RetryPolicy;

/// What decides what follows a failed attempt.
#[derive(Clone, Debug)]
pub struct Policy {
    /// When an event is retried, and when it is given up.
    pub retry: RetryPolicy,
    /// When the fleet stops calling a destination.
    pub circuit: Circuit,
    /// The longest `Retry-After` that is obeyed.
    pub retry_after_max: Duration,
}

/// When failed attempts are retried, and when an event is given up.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The wait after the first failed attempt.
    pub initial_interval: Duration,
    /// The factor by which each further wait grows: 1.0 to 10.0.
    pub multiplier: f64,
    /// The jitter of each wait, as a share of it: 0.0 to 1.0.
    pub randomization_factor: f64,
    /// The longest wait, without jitter; at least `initial_interval`.
    pub max_interval: Duration,
    /// Attempts after which an event is dead: 1 to 10000.
    pub max_attempts: u32,
    /// How long an event may fail before it is dead, while its destination can be called.
    pub give_up_after: Duration,
}

/// When a failing destination is no longer called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Consecutive failures that open the circuit: 1 to 10000. Consecutive failures of one event count as one.
    pub failures: u32,
    /// How long an open circuit waits before it sends a probe.
    pub cool_down: Duration,
}

// The defaults are those of `config/default.toml`; a test compares them.

impl Default for Policy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::new(Retry::default()),
            circuit: Circuit::default(),
            retry_after_max: Duration::from_hours(1),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: Duration::from_mins(10),
            max_attempts: 25,
            give_up_after: Duration::from_hours(72),
        }
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self { failures: 10, cool_down: Duration::from_secs(15) }
    }
}
