//! Starting deliveries as there are places for them, and learning from their outcomes.

use std::{ops::Bound, sync::Arc, time::Instant};

use tokio::task::JoinError;
use uuid::Uuid;

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
        let (worker, lease) = (self.worker, self.worker.event_lease);
        let needed = (lease / LEASE_PART_MIN).max(worker.destination.patience() + lease / SETTLE_PART);
        while self.may_call() && self.places() > 0 && !self.is_full_of_results() {
            let Some(event) = self.waiting.pop() else { break };
            let begun = Instant::now();
            if self.is_lane_held(&event) {
                self.hand_back(event, "the circuit of its lane is open");
                continue;
            }
            let lease_left = event.lease_ends.saturating_duration_since(begun);
            if lease_left < needed {
                self.hand_back(event, "its lease was nearly over before its turn came");
                continue;
            }
            worker.limiter.begin(begun);
            self.under_way.insert((begun, event.id));
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
                self.under_way.remove(&(begun, attempt.event.id));
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

    /// How many deliveries may begin. One that has waited for long for its answer leaves its place to another, where the destination
    /// permits that: at Kafka, records that wait for one partition leave room for those of the others. There are never more than
    /// twice as many as places.
    pub(super) fn places(&self) -> usize {
        let late = self.late_after().map_or(0, |late| {
            let of_id = (late, Uuid::max());
            self.under_way.range(..=of_id).take(self.worker.settings.concurrency).count()
        });
        self.worker.limiter.places(self.deliveries.len().saturating_sub(late))
    }

    /// Deliveries that began before this time leave their places to others.
    fn late_after(&self) -> Option<Instant> {
        self.worker.destination.gives_way_after().and_then(|after| Instant::now().checked_sub(after))
    }

    /// When the next delivery leaves its place to another, if one waits for that.
    pub(super) fn next_way(&self) -> Option<Instant> {
        let after = self.worker.destination.gives_way_after().filter(|_| !self.waiting.is_empty())?;
        let late = (self.late_after()?, Uuid::max());
        self.under_way.range((Bound::Excluded(late), Bound::Unbounded)).next().map(|(begun, _)| *begun + after)
    }

    pub(super) fn deliveries_that_are_ready(&mut self) {
        while let Some(delivered) = self.deliveries.try_join_next() {
            self.delivered(delivered);
        }
    }
}
