//! How many events a worker claims, in a simulation.

use std::time::Instant;

use super::{claims::wanted, flow::Flow};

/// The stock of events that a worker keeps.
#[derive(Debug)]
pub(crate) struct StockOnPaper(Flow);

impl StockOnPaper {
    /// Nothing has begun.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Flow::since(now))
    }

    /// A delivery begins.
    pub(crate) fn began(&mut self, now: Instant) {
        self.0.began(now);
    }

    /// How many events to claim, if any; `ahead` of free places, too.
    pub(crate) fn wanted(
        &mut self,
        places: usize,
        most: usize,
        waiting: usize,
        ahead: bool,
        now: Instant,
    ) -> Option<usize> {
        let ahead = if ahead { self.0.of_a_moment(now) } else { 0 };
        wanted(places + ahead, most, waiting)
    }
}
