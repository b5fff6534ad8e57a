//! One log line for many events of a kind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// How often a kind of event is logged at most.
const INTERVAL: Duration = Duration::from_secs(10);
/// So many kinds are told from each other.
const KINDS_MAX: usize = 100;

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

/// The same for kinds that are not known beforehand.
#[derive(Debug)]
pub struct SampledByKind {
    kinds: Mutex<BTreeMap<String, Sampled>>,
}

impl SampledByKind {
    /// No events so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { kinds: Mutex::new(BTreeMap::new()) }
    }

    /// Counts an event of `kind`. If it is to be logged: the number of events of its kind since the last one that was, with this
    /// one. All kinds beyond the first hundred count as one.
    pub fn count(&self, kind: impl FnOnce() -> String) -> Option<u64> {
        let (mut kinds, kind) = (self.kinds.lock(), kind());
        let kind = if kinds.len() < KINDS_MAX || kinds.contains_key(&kind) { kind } else { String::new() };
        kinds.entry(kind).or_default().count()
    }
}

impl Default for SampledByKind {
    fn default() -> Self {
        Self::new()
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

    #[test]
    fn each_kind_is_counted_by_itself() {
        let sampled = SampledByKind::new();
        for kind in ["refused", "unknown"] {
            assert_eq!(sampled.count(|| kind.to_owned()), Some(1));
            assert_eq!(sampled.count(|| kind.to_owned()), None);
        }
        let logged = (0..1_000).filter(|n| sampled.count(|| format!("kind {n}")).is_some()).count();
        assert!(logged <= KINDS_MAX, "{logged}");
    }
}
