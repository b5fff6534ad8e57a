//! Starting deliveries as there are places for them, and learning from their outcomes.

use std::{sync::Arc, time::Instant};

use tokio::task::JoinError;

use super::Run;
use crate::{
    destination::Destination,
    outbox::Outcome,
    worker::deliver::{Delivered, deliver},
};

/// An event is not sent with less of its lease left than this part of it: its answer would come too late.
const LEASE_PART_MIN: u32 = 3;
/// The part of a lease that is kept for settling.
const SETTLE_PART: u32 = 10;

impl<D: Destination> Run<'_, D> {
    /// Starts deliveries while there are places, unless results pile up because the database is unavailable.
    pub(super) fn begin_deliveries(&mut self) {
        let (worker, lease) = (self.worker, self.worker.settings.lease);
        while self.may_call() && worker.limiter.places(self.deliveries.len()) > 0 && !self.is_full_of_results() {
            let Some(event) = self.waiting.pop() else { break };
            let begun = Instant::now();
            let lease_left = event.lease_ends.saturating_duration_since(begun);
            if lease_left < lease / LEASE_PART_MIN {
                self.hand_back(event, "its lease was nearly over before its turn came");
                continue;
            }
            worker.limiter.begin(begun);
            self.flow.began(begun);
            // Time to settle is left, also after a look-up and a call that both took their time.
            let end = begun + lease_left.saturating_sub(lease / SETTLE_PART);
            let destination = Arc::clone(&worker.destination);
            self.deliveries.spawn(deliver(destination, event, begun, end, worker.cut_off.clone()));
        }
    }

    pub(super) fn delivered(&mut self, delivered: Result<Delivered<D::Receipt>, JoinError>) {
        match delivered {
            Ok(Delivered { mut attempt, begun }) => {
                self.worker.limiter.learn(&attempt.outcome, begun);
                if matches!(attempt.outcome, Outcome::Delivered(_) | Outcome::Refused(_)) {
                    self.latest_success = self.latest_success.max(Some(begun));
                }
                attempt.is_overtaken = self.latest_success.is_some_and(|success| begun < success);
                self.keep(attempt);
            }
            // A delivery catches its own panics. Its event is rescued when its lease has run out.
            Err(error) => tracing::error!(%error, "a delivery left no result"),
        }
    }

    pub(super) fn deliveries_that_are_ready(&mut self) {
        while let Some(delivered) = self.deliveries.try_join_next() {
            self.delivered(delivered);
        }
    }
}
