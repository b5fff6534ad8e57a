//! What the ingress saw, and in which order.

use std::{collections::HashSet, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::call::Wish;

/// How long after a thaw a process may still send what it was about to send when it froze. No client can keep from that.
const LATE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Record {
    pub pages: u32,
    pub throttled: u32,
    pub poisonous: u32,
    pub cut: u32,
    calls: u64,
    /// Quotes whose void was answered, and may thus be taken for delivered.
    voided: HashSet<Uuid>,
    thawed_at: Option<Instant>,
    late: u32,
    out_of_order: HashSet<Uuid>,
}

/// How often it did what, and saw what.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Calls that arrived.
    pub calls: u64,
    /// Calls that a page answered.
    pub pages: u32,
    /// Calls that were answered by 429.
    pub throttled: u32,
    /// Calls of poison quotes.
    pub poisonous: u32,
    /// Answers that were cut.
    pub cut: u32,
    /// Calls for a fee that a thawed process sent after the quote's void: it could not know.
    pub late: u32,
    /// Quotes for whose fee somebody called after their void was answered.
    #[serde(skip)]
    pub out_of_order: Vec<Uuid>,
}

impl Record {
    pub fn arrive(&mut self, wish: Wish) {
        self.calls += 1;
        let Wish::Fee(quote) = wish else { return };
        if !self.voided.contains(&quote) {
            return;
        }
        if self.thawed_at.is_some_and(|at| at.elapsed() < LATE) {
            self.late += 1;
        } else {
            self.out_of_order.insert(quote);
        }
    }

    pub fn voided(&mut self, quote: Uuid) {
        self.voided.insert(quote);
    }

    pub fn thawed(&mut self) {
        self.thawed_at = Some(Instant::now());
    }

    pub fn tally(&self) -> Tally {
        Tally {
            calls: self.calls,
            pages: self.pages,
            throttled: self.throttled,
            poisonous: self.poisonous,
            cut: self.cut,
            late: self.late,
            out_of_order: self.out_of_order.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_a_fee_behind_the_void_is_out_of_order() {
        let (mut record, quote, other) = (Record::default(), Uuid::now_v7(), Uuid::now_v7());
        record.arrive(Wish::Fee(quote));
        record.voided(quote);
        record.arrive(Wish::Fee(other));
        record.arrive(Wish::Void(quote));
        assert!(record.tally().out_of_order.is_empty());
        record.arrive(Wish::Fee(quote));
        assert_eq!(record.tally().out_of_order, [quote]);
    }

    #[test]
    fn what_a_thawed_process_still_sends_is_counted_by_itself() {
        let (mut record, quote) = (Record::default(), Uuid::now_v7());
        record.voided(quote);
        record.thawed();
        record.arrive(Wish::Fee(quote));
        assert_eq!((record.tally().late, record.tally().out_of_order.len()), (1, 0));
    }
}
