//! When a failed attempt is retried, and when the event is given up.
//!
//! The only file that uses `backoff`: it is policy alone, without sleeping and without a retry loop. The state that `backoff` keeps in
//! memory is set from the attempt number that the outbox stores, so that a restart changes nothing.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff as _};
use chrono::{DateTime, Utc};

use super::Retry;

/// An event is given up for its age after at least this many spent attempts: one or two attempts after a long wait say
/// little.
const ATTEMPTS_MIN: i32 = 5;

/// The retry policy: exponential delays with jitter, and an end.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    settings: Retry,
}

impl RetryPolicy {
    /// From the section `retry`.
    #[must_use]
    pub fn new(settings: Retry) -> Self {
        Self { settings }
    }

    /// How long to wait after failed attempt number `attempt` (from 1): `initial_interval · multiplier^(attempt-1)`, at
    /// most `max_interval`, spread evenly over ± `randomization_factor` so that events that failed together do not come
    /// back together.
    #[must_use]
    pub fn delay(&self, attempt: i32) -> Duration {
        let settings = &self.settings;
        let growth = settings.multiplier.powi(attempt.max(1) - 1);
        let seconds = (settings.initial_interval.as_secs_f64() * growth).min(settings.max_interval.as_secs_f64());
        let mut backoff = ExponentialBackoff {
            current_interval: Duration::from_secs_f64(seconds),
            initial_interval: settings.initial_interval,
            randomization_factor: settings.randomization_factor,
            multiplier: settings.multiplier,
            max_interval: settings.max_interval,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        backoff.next_backoff().unwrap_or(settings.max_interval)
    }

    /// Whether the event is given up after failed attempt number `attempt`, and why. `failing_since` is when its first
    /// attempt failed, since it was stored, revived by an operator, or its destination could be called again.
    #[must_use]
    pub fn gives_up(&self, attempt: i32, failing_since: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
        if u32::try_from(attempt).unwrap_or(0) >= self.settings.max_attempts {
            return Some(format!(
                "attempt {attempt} was the last of retry.max_attempts = {}",
                self.settings.max_attempts
            ));
        }
        let failing_for = (now - failing_since).to_std().unwrap_or_default();
        (attempt >= ATTEMPTS_MIN && failing_for >= self.settings.give_up_after).then(|| {
            format!(
                "failing for longer than retry.give_up_after = {}",
                humantime::format_duration(self.settings.give_up_after)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(randomization_factor: f64) -> RetryPolicy {
        RetryPolicy::new(Retry {
            initial_interval: Duration::from_secs(1),
            multiplier: 2.0,
            randomization_factor,
            max_interval: Duration::from_mins(10),
            max_attempts: 25,
            give_up_after: Duration::from_hours(72),
        })
    }

    #[test]
    fn delays_double_from_the_initial_to_the_longest_interval() {
        let seconds: Vec<_> = [1, 2, 3, 4, 10, 11, 25, i32::MAX].map(|n| policy(0.0).delay(n).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 8, 512, 600, 600, 600]);
    }

    #[test]
    fn jitter_stays_within_its_factor_and_spreads() {
        let delays: Vec<_> = (0..200).map(|_| policy(0.5).delay(3).as_millis()).collect();
        assert!(delays.iter().all(|ms| (2_000..=6_000).contains(ms)), "{delays:?}");
        assert!(delays.iter().max() > delays.iter().min());
    }

    #[test]
    fn an_event_is_given_up_after_its_attempts_or_its_time() {
        let stored = DateTime::<Utc>::UNIX_EPOCH;
        let early = stored + Duration::from_hours(1);
        assert_eq!(policy(0.5).gives_up(24, stored, early), None);
        assert!(policy(0.5).gives_up(25, stored, early).is_some_and(|why| why.contains("max_attempts = 25")));
        let late = stored + Duration::from_hours(72);
        assert!(policy(0.5).gives_up(5, stored, late).is_some_and(|why| why.contains("give_up_after = 3days")));
    }

    #[test]
    fn an_event_is_not_given_up_for_its_age_after_an_attempt_or_two() {
        let late = DateTime::<Utc>::UNIX_EPOCH + Duration::from_hours(24 * 365);
        assert_eq!(policy(0.5).gives_up(4, DateTime::<Utc>::UNIX_EPOCH, late), None);
    }
}
