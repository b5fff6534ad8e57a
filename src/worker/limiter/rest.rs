//! Calls that failed faster than a success takes.
//!
//! Each keeps its place for as long as a success would have held it, and counts only then. So a server that refuses at once is
//! not called more often for that, and shares are not distorted by failures that end before the successes that began with
//! them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// No place rests longer.
const REST_MAX: Duration = Duration::from_secs(10);

/// A call that failed: when it began, and whether that says something about load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rested {
    pub begun: Instant,
    pub counts: bool,
}

/// Places that rest, by when they are free. A number distinguishes those that are free at the same instant.
#[derive(Debug, Default)]
pub(super) struct Rest {
    places: BTreeMap<(Instant, u64), Rested>,
    number: u64,
}

impl Rest {
    /// The place of a call that has failed at `now` rests until `round_trip` after its beginning. Returns whether it does.
    pub(super) fn add(&mut self, call: Rested, round_trip: Duration, now: Instant) -> bool {
        let until = call.begun + round_trip.min(REST_MAX);
        if until <= now {
            return false;
        }
        self.number += 1;
        self.places.insert((until, self.number), call);
        true
    }

    /// A call whose place is free at `now`, and since when.
    pub(super) fn free(&mut self, now: Instant) -> Option<(Rested, Instant)> {
        let first = self.places.first_entry().filter(|first| first.key().0 <= now)?;
        let until = first.key().0;
        Some((first.remove(), until))
    }

    /// How many rest.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// When the next is free.
    pub(super) fn next(&self) -> Option<Instant> {
        self.places.first_key_value().map(|((until, _), _)| *until)
    }

    /// All are free, and count for nothing.
    pub(super) fn end(&mut self) {
        self.places.clear();
    }
}
