//! Claiming events as they can be sent.

use std::time::Instant;

use sea_orm::DbErr;

use super::Run;
use crate::{
    destination::Destination,
    outbox::{self, Claim, ClaimRequest, Hold},
    worker::hold::Clearance,
};

/// What a claim asked for and got, and when it began.
pub(super) struct Claimed {
    pub wanted: usize,
    pub begun: Instant,
    pub claim: Result<Claim, DbErr>,
}

/// How many events to claim if `startable` can be started within a moment, at most `most` are to wait, and so many are `waiting`;
/// `None` while enough wait.
pub(super) fn wanted(startable: usize, most: usize, waiting: usize) -> Option<usize> {
    // At least one: where all places rest, it waits for the first.
    let stock = startable.max(1).min(most);
    Some(stock.saturating_sub(waiting)).filter(|wanted| *wanted > 0 && waiting <= stock / 4)
}

impl<D: Destination> Run<'_, D> {
    /// Claims when fewer events wait than can be started within a moment, and no more than that: a lease runs from its claim, and
    /// what another partner stores meanwhile waits behind them.
    pub(super) fn begin_claim(&mut self) {
        let worker = self.worker;
        let limit = worker.limiter.limit();
        let places = self.places();
        // Under limits of the fleet a call begins as soon as it is claimed: nothing is claimed ahead.
        let ahead = if self.limited.is_in_force() { 0 } else { self.flow.of_a_moment(Instant::now()) };
        let most = worker.settings.batch_size.min(limit.saturating_mul(2));
        let Some(wanted) = wanted(places + ahead, most, self.waiting.len()) else { return };
        let wanted = wanted.min(self.claims.size());
        let may_claim = !self.supply.is_exhausted() && !self.is_held() && !worker.signals.drain.is_cancelled();
        if self.is_full_of_results() || !may_claim || self.claiming.is_running() || !self.claims.is_due() {
            return;
        }
        self.supply.claim_began();
        self.claiming.start(async move {
            let (begun, lease) = (Instant::now(), worker.event_lease);
            let (destination, lanes, name) = (worker.destination.name(), worker.destination.lanes(), &*worker.name);
            let turn = worker.turn.lock().clone();
            let request = ClaimRequest { destination, worker: name, limit: wanted, lease, lanes, turn };
            // Half of the lease is left to send.
            let claim = outbox::claim(&worker.db, &request);
            let claim = worker.in_time_of(&worker.claim_size, worker.settings.lease / 2, claim).await;
            Claimed { wanted, begun, claim }
        });
    }

    pub(super) fn claimed(&mut self, Claimed { wanted, begun, claim }: Claimed) {
        let Some(claim) = self.claims.ended(wanted, claim) else { return };
        // Not those of lanes: the rest of the destination may be called as ever.
        let probe = claim.held_lanes.is_empty() && claim.events.iter().any(|event| event.probe);
        let open = matches!(claim.hold, Some(Hold::CircuitOpen(_)));
        if probe || open {
            self.worker.limiter.restart();
        }
        self.note_pause(claim.hold.as_ref());
        if let Some(wait) = claim.hold_remaining {
            // The probe of another worker may close a circuit long before its lease ends.
            self.worker.hold.ends_in(if open { wait.min(self.worker.policy.circuit.cool_down) } else { wait });
        }
        self.keep_limits(&claim);
        if let Some(wait) = claim.lane_remaining {
            self.worker.hold.ends_in_at_most(wait.min(self.worker.policy.circuit.cool_down));
        }
        self.held_lanes.clone_from(&claim.held_lanes);
        self.supply.claim_ended(claim.is_full && !probe);
        *self.worker.turn.lock() = claim.next_turn.clone();
        self.worker.watch_backlog(&claim, self.deliveries.len());
        self.report.claimed += claim.events.len();
        self.waiting.extend(claim.events);
        self.clearance = Clearance::as_of(begun);
    }
}
