//! One log line for many events of a kind.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// How often a kind of event is logged at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts events of a kind that may come thousands of times a second, and picks those that are logged.
#[derive(Debug)]
pub struct Sampled {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Sampled {
    /// No events so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: Mutex::new((None, 0)) }
    }

    /// Counts an event. If it is to be logged: the number of events since the last one that was, with this one.
    pub fn count(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (logged, events) = &mut *state;
        *events += 1;
        if logged.is_some_and(|logged| logged.elapsed() < INTERVAL) {
            return None;
        }
        *logged = Some(Instant::now());
        Some(std::mem::take(events))
    }
}

impl Default for Sampled {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_events_the_first_is_logged_and_the_others_are_counted() {
        let sampled = Sampled::new();
        assert_eq!(sampled.count(), Some(1));
        assert!((0..100).all(|_| sampled.count().is_none()));
        sampled.state.lock().0 = None;
        assert_eq!(sampled.count(), Some(101));
    }
}
