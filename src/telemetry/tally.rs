//! What this process has counted since it last told the fleet: see `crate::series`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

static COUNTED: Mutex<Tally> = Mutex::new(Tally::new());

/// A time lies in bucket `n` if it has 2^(n/4) milliseconds or more, and less than 2^((n+1)/4).
const BUCKETS_A_DOUBLING: f64 = 4.0;
/// Two years.
const BUCKET_MAX: u8 = 143;
/// So many causes are counted until they are added to those of the fleet. What fails for others then is not counted by cause.
const CAUSES_MAX: usize = 50;

/// Counts, which can be added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name.
    pub counts: BTreeMap<&'static str, u64>,
    /// How often the time from a quote's submission to its fee record lay in each bucket.
    pub fee_lag: BTreeMap<u8, u64>,
    /// Attempts that failed, by destination and cause.
    pub causes: BTreeMap<(String, String), u64>,
}

impl Tally {
    /// Nothing was counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: BTreeMap::new(), fee_lag: BTreeMap::new(), causes: BTreeMap::new() }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.fee_lag.is_empty() && self.causes.is_empty()
    }

    /// Adds what `other` has counted.
    pub fn add(&mut self, other: Self) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        for (bucket, count) in other.fee_lag {
            *self.fee_lag.entry(bucket).or_default() += count;
        }
        for (cause, count) in other.causes {
            self.count_cause(cause, count);
        }
    }

    fn count_cause(&mut self, cause: (String, String), more: u64) {
        if self.causes.len() < CAUSES_MAX || self.causes.contains_key(&cause) {
            *self.causes.entry(cause).or_default() += more;
        }
    }
}

/// What was counted since the last call.
#[must_use]
pub fn take() -> Tally {
    std::mem::take(&mut COUNTED.lock())
}

/// Counts again what could not be told.
pub fn give_back(tally: Tally) {
    COUNTED.lock().add(tally);
}

pub(super) fn count(name: &'static str, more: u64) {
    *COUNTED.lock().counts.entry(name).or_default() += more;
}

/// Counts an attempt by its outcome's name.
pub(super) fn count_attempt(outcome: &str) {
    match outcome {
        "delivered" => count("delivered", 1),
        "refused" | "broken" => count("refused", 1),
        "unknown" => count("unknown", 1),
        // It was handed back.
        "not_sent" => {}
        _ => count("retry", 1),
    }
}

/// Counts an attempt that failed, by its cause.
pub(super) fn count_cause(destination: &str, cause: String) {
    COUNTED.lock().count_cause((destination.to_owned(), cause), 1);
}

pub(super) fn count_fee_lag(seconds: f64) {
    *COUNTED.lock().fee_lag.entry(bucket_of(seconds * 1e3)).or_default() += 1;
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and BUCKET_MAX")]
fn bucket_of(milliseconds: f64) -> u8 {
    (milliseconds.max(1.0).log2() * BUCKETS_A_DOUBLING).min(f64::from(BUCKET_MAX)) as u8
}

/// The middle of a bucket, in milliseconds: no further than a tenth from each time in it.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than 2^36")]
pub fn milliseconds_of(bucket: u8) -> u64 {
    ((f64::from(bucket.min(BUCKET_MAX)) + 0.5) / BUCKETS_A_DOUBLING).exp2().round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_are_different_each_time_fill_no_memory() {
        let mut tally = Tally::new();
        for number in 0..1_000 {
            tally.count_cause(("fee-server".into(), format!("retry: {number}")), 1);
        }
        tally.count_cause(("fee-server".into(), "retry: 0".into()), 2);
        assert_eq!((tally.causes.len(), tally.causes.values().sum::<u64>()), (CAUSES_MAX, CAUSES_MAX as u64 + 2));
    }

    #[test]
    fn the_middle_of_a_bucket_is_near_all_its_times() {
        assert_eq!(bucket_of(-3.0), 0, "a clock was set back");
        assert_eq!(bucket_of(f64::INFINITY), BUCKET_MAX);
        for milliseconds in [10.0, 47.0, 999.0, 5_000.0, 86_400_000.0_f64] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let told = milliseconds_of(bucket_of(milliseconds)) as f64;
            assert!((told / milliseconds - 1.0).abs() < 0.1, "{milliseconds}: {told}");
        }
    }
}
