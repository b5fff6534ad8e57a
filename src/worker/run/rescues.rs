//! Taking back, beside the deliveries, the events of workers whose leases have run out.

use std::time::Instant;

use super::Run;
use crate::{
    destination::Destination,
    outbox::{self, Rescued},
    worker::logging,
};

/// The part of a lease after which a run that goes on looks again for leases that have run out.
pub(super) const RESCUE_PART: u32 = 3;

impl<D: Destination> Run<'_, D> {
    /// Repeatedly: under steady load a run never ends.
    pub(super) fn begin_rescue(&mut self) {
        let worker = self.worker;
        if !self.rescues.is_due() || self.rescuing.is_running() || worker.signals.drain.is_cancelled() {
            return;
        }
        self.rescues.put_off(Instant::now() + worker.settings.lease / RESCUE_PART);
        let limit = self.rescues.size();
        self.rescuing.start(async move {
            let rescue = outbox::rescue(&worker.db, &worker.name, &worker.policy, limit);
            (limit, worker.in_time_of(&worker.rescue_size, worker.settings.lease, rescue).await)
        });
    }

    /// Each batch is committed by itself: a later failure takes nothing back.
    pub(super) fn rescued(&mut self, rescued: &Rescued) {
        for (attempt, became) in &rescued.ended {
            logging::rescued((attempt, became));
            self.report.rescued += 1;
        }
        if !rescued.ended.is_empty() {
            self.supply.replenished();
        }
        if rescued.is_full {
            self.rescues.put_off(Instant::now());
        }
    }
}
