//! Failures that do not depend on our load: a destination's usual share of them.

use super::tally::Tally;

/// A larger share never counts as chance.
pub(super) const CHANCE_MAX: f64 = 0.3;
/// A share that never matters: it costs less than an experiment.
const TOLERATED: f64 = 0.01;
/// The most calls that the share rests on: it is forgotten slowly.
const CALLS_MAX: f64 = 5_000.0;

/// The share of failures that experiments have found not to depend on our load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chance {
    failures: f64,
    calls: f64,
}

impl Chance {
    /// The share that is usual: the known one, plus one standard error.
    pub(super) fn bound(&self) -> f64 {
        let error = if self.calls < 1.0 { 0.0 } else { (self.share() * (1.0 - self.share()) / self.calls).sqrt() };
        (self.share() + error).clamp(TOLERATED, CHANCE_MAX)
    }

    fn share(&self) -> f64 {
        self.failures / self.calls.max(1.0)
    }

    /// A share like the known one adds to it, another one replaces it.
    pub(super) fn learn(&mut self, failures: f64, calls: f64) {
        if calls < 1.0 {
            return;
        }
        let failures = failures.min(calls * CHANCE_MAX);
        let pooled = (self.failures + failures) / (self.calls + calls);
        let error = (pooled * (1.0 - pooled) * (1.0 / calls + 1.0 / self.calls.max(1.0))).sqrt();
        if (failures / calls - self.share()).abs() > 2.0 * error {
            *self = Self { failures, calls };
        } else {
            *self = Self { failures: self.failures + failures, calls: self.calls + calls };
        }
        let part = (CALLS_MAX / self.calls).min(1.0);
        *self = Self { failures: self.failures * part, calls: self.calls * part };
    }

    /// When less fails than is known, the known share falls: slowly, or faster if far less fails.
    pub(super) fn forget(&mut self, recent: &Tally) {
        let (known, now) = (self.share(), recent.share());
        if recent.calls() < 1.0 || now >= known {
            return;
        }
        let error = (known * (1.0 - known) / recent.calls()).sqrt();
        let part = if known - now > 2.5 * error { 0.1 } else { 0.01 };
        self.failures -= (known - now) * part * self.calls;
    }
}
