//! Counts calls: their times, and how many were open at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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

impl OpenCall {
    /// Whether more calls than these are open.
    pub fn is_beyond(&self, places: usize) -> bool {
        self.0.open.load(Ordering::Relaxed) > places
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
