//! Counts of successes and failures, and how two counts compare.

use std::time::Duration;

/// How many calls succeeded and failed, and how long they took. Counts are fractions: old ones fade.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    successes: f64,
    failures: f64,
    /// Seconds that successes, and failures, held a place.
    success_seconds: f64,
    failure_seconds: f64,
    /// Sums of the logarithms of the successes' seconds, and of their squares: a few slow ones move it little.
    logs: f64,
    log_squares: f64,
}

impl Tally {
    pub(super) fn count(&mut self, succeeded: bool, took: Duration) {
        let seconds = took.as_secs_f64().max(1e-6);
        if succeeded {
            self.successes += 1.0;
            self.success_seconds += seconds;
            self.logs += seconds.ln();
            self.log_squares += seconds.ln().powi(2);
        } else {
            self.failures += 1.0;
            self.failure_seconds += seconds;
        }
    }

    /// Keeps only `part` of all counts.
    pub(super) fn fade(&mut self, part: f64) {
        self.successes *= part;
        self.failures *= part;
        self.success_seconds *= part;
        self.failure_seconds *= part;
        self.logs *= part;
        self.log_squares *= part;
    }

    pub(super) fn failures(&self) -> f64 {
        self.failures
    }

    pub(super) fn successes(&self) -> f64 {
        self.successes
    }

    pub(super) fn calls(&self) -> f64 {
        self.successes + self.failures
    }

    /// The failed part of the calls; 0 if there are none.
    pub(super) fn share(&self) -> f64 {
        if self.calls() > 0.0 { self.failures / self.calls() } else { 0.0 }
    }

    /// The part of the places that calls held which succeeded; 1 if nothing is known.
    pub(super) fn useful_places(&self) -> f64 {
        let all = self.success_seconds + self.failure_seconds;
        if all > 0.0 { self.success_seconds / all } else { 1.0 }
    }

    /// Whether failures hold their places much longer than successes do, as timeouts do: waiting for them costs too much.
    pub(super) fn fails_slowly(&self) -> bool {
        self.failure_seconds * self.successes > 2.0 * self.success_seconds * self.failures
    }

    /// How long a success takes, if there was one.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        (self.successes > 0.0).then(|| Duration::from_secs_f64((self.success_seconds / self.successes).max(0.0)))
    }

    /// The logarithm of the typical (geometric mean) seconds of a success, its variance among them, and of how many.
    pub(super) fn latency(&self) -> Option<Latency> {
        (self.successes >= Latency::SUCCESSES_MIN).then(|| {
            let log = self.logs / self.successes;
            let variance = (self.log_squares / self.successes - log.powi(2)).max(0.0);
            Latency { log, variance, of: self.successes }
        })
    }
}

/// How long successes take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Natural logarithm of the typical seconds.
    pub log: f64,
    /// Of the logarithms.
    pub variance: f64,
    /// Number of successes that it was measured from.
    pub of: f64,
}

impl Latency {
    /// Fewer say nothing.
    const SUCCESSES_MIN: f64 = 8.0;

    /// The faster of two.
    pub(super) fn lesser(this: Option<Self>, that: Option<Self>) -> Option<Self> {
        match (this, that) {
            (Some(this), Some(that)) => Some(if that.log < this.log { that } else { this }),
            (this, that) => this.or(that),
        }
    }

    /// By which factor, as a logarithm, `self` is slower than `other`, and the standard error of that.
    pub(super) fn slower_than(&self, other: &Self) -> (f64, f64) {
        let error = (self.variance / self.of + other.variance / other.of).sqrt().max(0.01);
        (self.log - other.log, error)
    }
}

/// How much likelier, as a logarithm, `failures` among `calls` are at a share of `this` than at one of `that`.
pub(super) fn likelier(failures: f64, calls: f64, this: f64, that: f64) -> f64 {
    let (this, that) = (this.clamp(1e-6, 1.0 - 1e-6), that.clamp(1e-6, 1.0 - 1e-6));
    failures * (this / that).ln() + (calls - failures) * ((1.0 - this) / (1.0 - that)).ln()
}

/// Calls that distinguish a share of `this` from one of `that`, with odds of about e^`evidence` to one, whichever is true.
pub(super) fn calls_to_distinguish(this: f64, that: f64, evidence: f64) -> f64 {
    let if_this = likelier(this, 1.0, this, that);
    let if_that = likelier(that, 1.0, that, this);
    evidence / if_this.min(if_that).max(1e-9)
}
