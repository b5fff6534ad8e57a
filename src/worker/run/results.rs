//! Settling results in batches, and those that may begin a hold before all others.

use std::time::Duration;

use super::Run;
use crate::{
    destination::Destination,
    outbox::{Attempt, Disposition, Outcome},
    worker::{
        Settings, logging,
        settle::{Held, Settlement, settle},
    },
};

/// How long a process that lacks descriptors or memory begins no calls.
const OUT_OF_RESOURCES: Duration = Duration::from_secs(1);

impl<D: Destination> Run<'_, D> {
    /// Whether no more may be added, because the database does not take results as fast as they come. All that are under way may end
    /// at once, as records of one batch do: that is no reason to stop claiming while they are settled.
    pub(super) fn is_full_of_results(&self) -> bool {
        let Settings { batch_size, concurrency, .. } = self.worker.settings;
        self.finished.len() >= batch_size.max(concurrency)
    }

    /// Keeps a result until it is settled: at once, past all that waits, if it may begin a hold.
    pub(super) fn keep(&mut self, attempt: Attempt<D::Receipt>) {
        let policy = &self.worker.policy;
        let urgent = match &attempt.outcome {
            Outcome::RetryAfter(_, wait) => self.worker.hold.lengthen((*wait).min(policy.retry_after_max)),
            Outcome::Unauthorised(_) | Outcome::Forbidden(_) | Outcome::LaneUnusable(_) => true,
            Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::Unknown(_) if attempt.is_overtaken => false,
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::Unknown(_)
            | Outcome::Misdirected { .. }
            | Outcome::Broken(_) => {
                self.failed_in_a_row.insert(attempt.event.id);
                let opens = u32::try_from(self.failed_in_a_row.len()).is_ok_and(|it| it >= policy.circuit.failures);
                if opens {
                    // The fleet counts them, too, and in the order in which they came.
                    self.urgent.append(&mut self.finished);
                }
                opens
            }
            Outcome::Delivered(_) | Outcome::Refused(_) => {
                self.failed_in_a_row.clear();
                false
            }
            Outcome::OutOfResources(_) => {
                self.worker.hold.lengthen(OUT_OF_RESOURCES);
                false
            }
            Outcome::NotSent(_) | Outcome::PutOff(..) => false,
        };
        if urgent { self.urgent.push(attempt) } else { self.finished.push(attempt) }
    }

    /// Urgent results go on a connection of their own: a slow batch that is being settled does not keep the fleet from
    /// knowing.
    pub(super) fn begin_settle(&mut self) {
        if !self.settles.is_due() {
            return;
        }
        for (results, settling) in
            [(&mut self.finished, &mut self.settling), (&mut self.urgent, &mut self.settling_urgent)]
        {
            if !results.is_empty() && !settling.is_running() {
                let batch = results.drain(..results.len().min(self.settles.size())).collect();
                settling.start(settle(self.worker, batch));
            }
        }
    }

    pub(super) fn settled(&mut self, settlement: Settlement<D::Receipt>) {
        if settlement.unblocks {
            self.supply.unblocked();
        }
        for (attempt, became) in &settlement.settled {
            logging::settled((attempt, became));
            self.report.count((attempt, became));
            // The circuit is closed: the events behind it need not wait for the next tick.
            if attempt.event.probe && *became == Disposition::Delivered {
                self.held_lanes.retain(|lane| Some(*lane) != attempt.event.lane);
                self.supply.replenished();
            }
        }
        self.calls_have_ended();
        if let Some(Held { hold, lanes }) = settlement.held {
            self.hold_back(hold.as_ref());
            self.lanes_are_held(lanes);
        }
        if settlement.left.is_empty() {
            return self.settles.succeeded();
        }
        self.settles.pause();
        let (still, over): (Vec<_>, Vec<_>) =
            settlement.left.into_iter().partition(|attempt| attempt.event.lease_ends > self.settles.not_before());
        over.iter().for_each(logging::not_stored);
        self.report.lost += over.len();
        // Behind the others: a result that fails again and again does not keep them from being tried.
        self.finished.extend(still);
    }
}
