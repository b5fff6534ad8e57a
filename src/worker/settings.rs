//! How much a worker takes at once.

use std::time::Duration;

/// How much a worker takes at once, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most events per claim: 1 to 10000.
    pub batch_size: usize,
    /// Most concurrent deliveries: 1 to 10000.
    pub concurrency: usize,
    /// How long a worker holds an event that it claimed: longer than a delivery and the look-up before it may take.
    pub lease: Duration,
}

/// As in `config/default.toml`; a test compares them.
impl Default for Settings {
    fn default() -> Self {
        Self { batch_size: 500, concurrency: 256, lease: Duration::from_secs(30) }
    }
}
