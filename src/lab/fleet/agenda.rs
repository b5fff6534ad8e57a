//! Simulated time, and what happens when.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

use super::worker::{Ended, Held};
use crate::outbox::Outcome;

/// Simulated time.
pub(super) type Micros = u64;
pub(super) const SECOND: Micros = 1_000_000;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// A slice of quotes is stored.
    Submission,
    /// The cron tick of all workers.
    Tick,
    /// A worker looks whether it can do something.
    Wake(usize),
    /// The same, since a hold is over.
    HoldEnds(usize),
    /// A claim commits.
    Claim(usize, usize),
    /// A call ends; whether it took one of the server's places.
    CallEnds(usize, Held, Micros, Outcome<()>, bool),
    /// A settlement commits.
    Settle(usize, Vec<Ended>, bool),
    /// The fee server fails.
    OutageBegins,
    /// It answers again.
    OutageEnds,
    /// Some workers die.
    Kill,
    /// The lease of a dead worker's event has ended, and a tick has come.
    Rescue(Held),
}

/// What happens when, the first first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    planned: BinaryHeap<Planned>,
    number: u64,
}

#[derive(Debug)]
struct Planned(Micros, u64, Happening);

impl Agenda {
    /// What is planned first of what happens at the same time comes first.
    pub(super) fn plan(&mut self, at: Micros, happening: Happening) {
        self.number += 1;
        self.planned.push(Planned(at, self.number, happening));
    }

    pub(super) fn next(&mut self) -> Option<(Micros, Happening)> {
        self.planned.pop().map(|Planned(at, _, happening)| (at, happening))
    }
}

pub(super) fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4)
}

/// `time`, `factor` times.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "minutes in microseconds, and a factor above 0"
)]
pub(super) fn scaled(time: Micros, factor: f64) -> Micros {
    (time as f64 * factor) as Micros
}

/// `time` in seconds.
#[expect(clippy::cast_precision_loss, reason = "minutes in microseconds")]
pub(super) fn as_seconds(time: Micros) -> f64 {
    time as f64 / SECOND as f64
}

// The first on the agenda is the greatest.

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}
