//! What the ingress saw, and in which order.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::call::RequestKind;

/// How long after a freeze a process may still send the call that it was about to send. No client can prevent that.
const LATE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Record {
    pub tally: Tally,
    /// Quotes whose void was answered, so that Feebox may count it as delivered.
    voided: HashSet<Uuid>,
    freeze_ended_at: Option<Instant>,
}

/// What the ingress did and saw, as counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Calls that arrived.
    pub calls: u64,
    /// Calls answered with a page.
    pub pages: u32,
    /// Calls answered with 429.
    pub throttled: u32,
    /// Calls of poison quotes.
    pub poisonous: u32,
    /// Answers that were cut.
    pub cut: u32,
    /// Calls for a fee that a process sent right after its freeze, although the quote was voided in between.
    pub late: u32,
    /// Quotes whose fee was requested after their void was answered.
    #[serde(skip)]
    pub out_of_order: BTreeSet<Uuid>,
}

impl Record {
    pub fn arrive(&mut self, kind: RequestKind) {
        self.tally.calls += 1;
        let RequestKind::Fee(quote) = kind else { return };
        if !self.voided.contains(&quote) {
            return;
        }
        if self.freeze_ended_at.is_some_and(|at| at.elapsed() < LATE) {
            self.tally.late += 1;
        } else {
            self.tally.out_of_order.insert(quote);
        }
    }

    pub fn voided(&mut self, quote: Uuid) {
        self.voided.insert(quote);
    }

    pub fn freeze_ended(&mut self) {
        self.freeze_ended_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_a_fee_after_its_void_is_out_of_order() {
        let (mut record, quote, other) = (Record::default(), Uuid::now_v7(), Uuid::now_v7());
        record.arrive(RequestKind::Fee(quote));
        record.voided(quote);
        record.arrive(RequestKind::Fee(other));
        record.arrive(RequestKind::Void(quote));
        assert!(record.tally.out_of_order.is_empty());
        record.arrive(RequestKind::Fee(quote));
        assert_eq!(record.tally.out_of_order, BTreeSet::from([quote]));
    }

    #[test]
    fn late_calls_after_a_freeze_are_counted_separately() {
        let (mut record, quote) = (Record::default(), Uuid::now_v7());
        record.voided(quote);
        record.freeze_ended();
        record.arrive(RequestKind::Fee(quote));
        assert_eq!((record.tally.late, record.tally.out_of_order.len()), (1, 0));
    }
}
