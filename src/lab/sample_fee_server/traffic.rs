//! Counts calls: their times, and how many were open at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Counts every call under `/v1`.
#[derive(Default)]
pub(super) struct Traffic {
    arrivals: Mutex<Vec<Instant>>,
    open: AtomicUsize,
    open_max: AtomicUsize,
}

/// A call that is being answered. It counts as open until it is dropped, which also happens when the client hangs up.
pub(super) struct OpenCall(Arc<Traffic>);

impl Traffic {
    pub fn enter(self: &Arc<Self>) -> OpenCall {
        self.arrivals.lock().push(Instant::now());
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.open_max.fetch_max(open, Ordering::Relaxed);
        OpenCall(Arc::clone(self))
    }

    pub fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().clone()
    }

    pub fn open_max(&self) -> usize {
        self.open_max.load(Ordering::Relaxed)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The most arrivals within any time span shorter than `window`.
pub(super) fn largest_burst(arrivals: &[Instant], window: Duration) -> usize {
    let mut first = 0;
    let mut largest = 0;
    for (last, instant) in arrivals.iter().enumerate() {
        while instant.duration_since(arrivals[first]) >= window && first < last {
            first += 1;
        }
        largest = largest.max(last + 1 - first);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_burst_is_found_across_the_edges_of_whole_seconds() {
        let start = Instant::now();
        let at = |milliseconds: &[u64]| -> Vec<Instant> {
            milliseconds.iter().map(|after| start + Duration::from_millis(*after)).collect()
        };
        let second = Duration::from_secs(1);
        assert_eq!(largest_burst(&at(&[0, 900, 1_000, 1_100, 1_899, 5_000]), second), 4);
        assert_eq!(largest_burst(&at(&[0, 1_000, 2_000]), second), 1);
        assert_eq!(largest_burst(&[], second), 0);
    }

    #[test]
    fn a_call_is_open_until_it_is_dropped() {
        let traffic = Arc::new(Traffic::default());
        drop((traffic.enter(), traffic.enter()));
        drop(traffic.enter());
        assert_eq!((traffic.open_max(), traffic.arrivals().len()), (2, 3));
    }
}
