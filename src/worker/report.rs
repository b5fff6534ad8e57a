//! What a run did.

use std::fmt;

use crate::outbox::{Disposition, Settled};

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Leases taken.
    pub claimed: usize,
    /// Events that their destination has.
    pub delivered: usize,
    /// Events to be tried again.
    pub retried: usize,
    /// Events given up.
    pub dead: usize,
    /// Events that had been withdrawn.
    pub cancelled: usize,
    /// Events handed back unsent.
    pub handed_back: usize,
    /// Results that came after their lease, or could not be stored before it ended.
    pub lost: usize,
    /// Events taken back from workers that left no result.
    pub rescued: usize,
}

impl Report {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn count<R>(&mut self, (attempt, became): Settled<'_, R>) {
        let counter = match (became, &attempt.outcome) {
            (Disposition::AlreadySettled(became), _) => return self.count((attempt, became)),
            (Disposition::Delivered, _) => &mut self.delivered,
            (Disposition::Pending(_), outcome) if outcome.is_unsent() => &mut self.handed_back,
            (Disposition::Pending(_), _) => &mut self.retried,
            (Disposition::Dead(_), _) => &mut self.dead,
            (Disposition::Cancelled, _) => &mut self.cancelled,
            (Disposition::LeaseLost(_), _) => &mut self.lost,
        };
        *counter += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claimed, delivered, retried, dead, cancelled, handed_back, lost, rescued } = self;
        write!(
            f,
            "claimed {claimed}, delivered {delivered}, to retry {retried}, dead {dead}, cancelled {cancelled}, \
             handed back {handed_back}, lost leases {lost}, rescued {rescued}"
        )
    }
}
