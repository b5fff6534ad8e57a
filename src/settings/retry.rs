//! `retry.*` and `circuit.*`: retries and circuit breakers.

use std::time::Duration;

use super::fields::Fields;
pub use crate::outbox::{Circuit, Retry};

impl Retry {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let (initial_interval, max_interval) = read_intervals(fields);
        Self {
            initial_interval,
            multiplier: fields.ratio("retry.multiplier", 1.0..=10.0),
            randomization_factor: fields.ratio("retry.randomization_factor", 0.0..=1.0),
            max_interval,
            max_attempts: fields.count("retry.max_attempts", 1..=10_000),
            give_up_after: fields.duration("retry.give_up_after", ["1s", "1y"]),
        }
    }
}

impl Circuit {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            failures: fields.count("circuit.failures", 1..=10_000),
            cool_down: fields.duration("circuit.cool_down", ["10ms", "1h"]),
        }
    }
}

/// The shortest and the longest wait. If only one is set, the other's default is adapted to it.
fn read_intervals(fields: &mut Fields) -> (Duration, Duration) {
    let (initial_key, max_key) = ("retry.initial_interval", "retry.max_interval");
    let initial = fields.duration(initial_key, ["1ms", "1d"]);
    let max = fields.duration(max_key, ["1ms", "1d"]);
    if initial <= max || !fields.are_valid(&[initial_key, max_key]) {
        return (initial, max);
    }
    if fields.is_default(initial_key) {
        return (fields.adapt_default(initial_key, max, max_key), max);
    }
    if fields.is_default(max_key) {
        return (initial, fields.adapt_default(max_key, initial, initial_key));
    }
    fields.refuse(
        max_key,
        format!("is shorter than {initial_key} ({})", fields.origin(initial_key)),
        "lengthen it, or shorten retry.initial_interval",
    );
    (initial, max)
}
