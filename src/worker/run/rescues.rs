//! Taking back, beside the deliveries, what workers left behind whose leases have run out.

use std::time::Instant;

use super::Run;
use crate::{
    destination::Destination,
    outbox::{self, Rescued},
    worker::tell,
};

/// The part of a lease after which a run that goes on looks again for leases that have run out.
pub(super) const RESCUE_PART: u32 = 3;

impl<D: Destination> Run<'_, D> {
    /// A run that has always something in the air, as under steady load, would else never look for them again.
    pub(super) fn begin_rescue(&mut self) {
        let worker = self.worker;
        if !self.rescues.is_due() || self.rescuing.is_some() || worker.signals.drain.is_cancelled() {
            return;
        }
        self.rescues.put_off(Instant::now() + worker.settings.lease / RESCUE_PART);
        let limit = self.rescues.size();
        self.rescuing = Some(Box::pin(async move {
            let rescue = outbox::rescue(&worker.db, &worker.name, &worker.policy, limit);
            (limit, worker.in_time_of(&worker.rescue_size, worker.settings.lease, rescue).await)
        }));
    }

    /// Each batch is committed by itself: what follows takes nothing back.
    pub(super) fn note_rescued(&mut self, rescued: &Rescued) {
        for (attempt, became) in &rescued.ended {
            tell::rescued((attempt, became));
            self.report.rescued += 1;
        }
        if !rescued.ended.is_empty() {
            // A claim that is under way may have looked before they were there.
            (self.exhausted, self.freed_since_claim) = (false, true);
        }
        if rescued.is_full {
            self.rescues.put_off(Instant::now());
        }
    }
}
