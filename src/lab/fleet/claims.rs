//! What workers claim, and when.

use std::time::Duration;

use rand::RngExt;

use super::{
    agenda::{Happening, Micros, SECOND, micros},
    simulation::Simulation,
    worker::Held,
};
use crate::outbox::PermitOnPaper;

/// The default of `worker.lease`.
const LEASE: Micros = 30 * SECOND;
/// The default of `worker.batch_size`.
const BATCH_SIZE: usize = 500;
/// The pause under limits of the fleet after a claim that brought something, and the longest after others, as in `run::limited`.
const PAUSE: Micros = SECOND / 10;
const PAUSE_MAX: Micros = 8 * SECOND / 10;

impl Simulation {
    pub(super) fn begin_claim(&mut self, number: usize) {
        let (now, is_limited) = (self.instant(), self.scenario.limit.is_some());
        let worker = &mut self.workers[number];
        if worker.is_claiming || worker.is_exhausted || worker.is_urgent || self.now < worker.claims_at {
            return;
        }
        let limit = worker.limit.limit(now);
        let places = worker.limit.places(worker.in_flight.len(), now);
        let most = BATCH_SIZE.min(limit.saturating_mul(2));
        if let Some(wanted) = worker.stock.wanted(places, most, worker.waiting.len(), !is_limited, now) {
            worker.is_claiming = true;
            let took = self.statement();
            self.plan(took, Happening::Claim(number, wanted));
        }
    }

    pub(super) fn claim(&mut self, number: usize, wanted: usize) {
        let (now, at, instant, cool_down) =
            (self.now, self.utc(), self.instant(), micros(self.policy.circuit.cool_down));
        if self.workers[number].is_dead {
            return;
        }
        self.workers[number].is_claiming = false;
        self.tally.claimed(now);
        let permit = self.destination.permit(at);
        let room = self.scenario.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.leased));
        let most = match permit {
            PermitOnPaper::All => wanted.min(room),
            PermitOnPaper::Probe => room.min(1),
            PermitOnPaper::Open(_) | PermitOnPaper::Held(_) => 0,
        };
        let due = self.pending.range(..=(now, u64::MAX)).take(most).map(|(key, attempts)| (*key, *attempts));
        let due: Vec<_> = due.collect();
        for (key, _) in &due {
            self.pending.remove(key);
        }
        self.leased += due.len();
        let probe = permit == PermitOnPaper::Probe && !due.is_empty();
        if probe {
            self.destination.take_probe(at, Duration::from_micros(LEASE));
        }
        let worker = &mut self.workers[number];
        let held = |((_, id), attempts): &((Micros, u64), i32)| Held {
            id: *id,
            attempt: attempts + 1,
            probe,
            lease_ends: now + LEASE,
        };
        worker.waiting.extend(due.iter().map(held));
        worker.holds_read_at = now;
        let is_held = matches!(permit, PermitOnPaper::Open(_) | PermitOnPaper::Held(_));
        worker.is_exhausted = due.len() < most || probe || is_held;
        if probe || matches!(permit, PermitOnPaper::Open(_)) {
            worker.limit.restart(instant);
        }
        match permit {
            PermitOnPaper::Open(wait) => self.plan(micros(wait).min(cool_down), Happening::HoldEnds(number)),
            PermitOnPaper::Held(wait) => self.plan(micros(wait), Happening::HoldEnds(number)),
            PermitOnPaper::All | PermitOnPaper::Probe if self.scenario.limit.is_some() => {
                self.claim_again(number, !due.is_empty());
            }
            PermitOnPaper::All | PermitOnPaper::Probe => {}
        }
        self.advance(number);
    }

    /// Puts the next claim under a limit off: for a moment, or longer and longer while claims bring nothing.
    fn claim_again(&mut self, number: usize, has_brought: bool) {
        let worker = &mut self.workers[number];
        worker.in_vain = if has_brought { 0 } else { worker.in_vain.saturating_add(1) };
        let pause = PAUSE.saturating_mul(2_u64.saturating_pow(worker.in_vain)).min(PAUSE_MAX);
        let pause = if has_brought { PAUSE } else { self.chance.random_range(pause / 2..=pause) };
        worker.claims_at = self.now + pause;
        self.plan(pause, Happening::Wake(number));
    }
}
