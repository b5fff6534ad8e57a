//! A worker: what it has in hand, and the parts of the product that decide how much that is.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use uuid::Uuid;

use super::agenda::Micros;
use crate::{
    outbox::{Attempt, Outcome, leased_on_paper},
    worker::{LimitOnPaper, StockOnPaper},
};

/// An event under a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub id: u64,
    /// The running attempt's number.
    pub attempt: i32,
    pub probe: bool,
    pub lease_ends: Micros,
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub held: Held,
    pub outcome: Outcome<()>,
    pub is_overtaken: bool,
}

/// A worker process.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a process")]
pub(super) struct Worker {
    pub limit: LimitOnPaper,
    pub stock: StockOnPaper,
    pub waiting: VecDeque<Held>,
    pub in_flight: Vec<Held>,
    /// Not settled yet.
    pub finished: Vec<Ended>,
    /// The last claim found nothing more that is due.
    pub is_exhausted: bool,
    pub is_claiming: bool,
    /// Settlements under way.
    pub settling: usize,
    /// Results are being settled that may begin a hold: no call begins before that.
    pub is_urgent: bool,
    pub is_dead: bool,
    /// When it last read what holds the destination back.
    pub holds_read_at: Micros,
    /// When it is woken for places that rested.
    pub rest_ends_at: Option<Micros>,
    /// Under a limit of the fleet: when it may claim again, and how many claims in a row have brought nothing.
    pub claims_at: Micros,
    pub in_vain: u32,
    failed_in_a_row: BTreeSet<u64>,
    latest_success: Option<Micros>,
    pub delivered: usize,
    pub delivered_after_outage: usize,
}

impl Worker {
    pub(super) fn new(concurrency: usize, zero: Instant) -> Self {
        Self {
            limit: LimitOnPaper::new(concurrency, zero),
            stock: StockOnPaper::new(zero),
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            finished: Vec::new(),
            is_exhausted: true,
            is_claiming: false,
            settling: 0,
            is_urgent: false,
            is_dead: false,
            holds_read_at: 0,
            rest_ends_at: None,
            claims_at: 0,
            in_vain: 0,
            failed_in_a_row: BTreeSet::new(),
            latest_success: None,
            delivered: 0,
            delivered_after_outage: 0,
        }
    }

    /// Keeps a result, as `Run::keep` does. Enough failures in a row are urgent.
    pub(super) fn keep(&mut self, held: Held, outcome: Outcome<()>, begun: Micros, failures_in_a_row: u32) {
        self.in_flight.retain(|it| it.id != held.id);
        let is_delivered = matches!(outcome, Outcome::Delivered(()));
        if is_delivered {
            self.latest_success = self.latest_success.max(Some(begun));
            self.failed_in_a_row.clear();
        }
        let is_overtaken = self.latest_success.is_some_and(|success| begun < success);
        if !is_delivered && !is_overtaken {
            self.failed_in_a_row.insert(held.id);
            self.is_urgent |= u32::try_from(self.failed_in_a_row.len()).is_ok_and(|it| it >= failures_in_a_row);
        }
        self.finished.push(Ended { held, outcome, is_overtaken });
    }

    /// Calls have ended and are settled: others may begin instead.
    pub(super) fn calls_have_ended(&mut self, now: Micros) {
        (self.claims_at, self.in_vain) = (self.claims_at.min(now), 0);
    }

    /// Hands back what waits, but for a probe that may go.
    pub(super) fn hand_back(&mut self) {
        let (probes, others): (VecDeque<_>, VecDeque<_>) = self.waiting.drain(..).partition(|held| held.probe);
        self.waiting = probes;
        let unsent = || Outcome::NotSent("its destination is to be left alone".into());
        self.finished.extend(others.into_iter().map(|held| Ended { held, outcome: unsent(), is_overtaken: false }));
    }

    /// All events that it has leased.
    pub(super) fn all_held(&self) -> Vec<Held> {
        let finished = self.finished.iter().map(|ended| &ended.held);
        self.waiting.iter().chain(&self.in_flight).chain(finished).copied().collect()
    }
}

impl Ended {
    /// As the outbox takes it.
    pub(super) fn attempt(&self, lease_ends: Instant) -> Attempt<()> {
        let Held { id, attempt, probe, .. } = self.held;
        Attempt {
            event: leased_on_paper(Uuid::from_u128(id.into()), attempt, probe, lease_ends),
            outcome: self.outcome.clone(),
            took: std::time::Duration::ZERO,
            is_overtaken: self.is_overtaken,
        }
    }
}
