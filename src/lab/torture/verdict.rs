//! What remained of the promises.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{
    executioner::Done,
    fault::{Counts, Fault},
    ingress::Tally,
    judge::Finding,
};
use crate::{audit::Violation, lab::sample_fee_server::Stats};

/// What was done, what came of it, and each promise that did not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// How often each fault was done. Those that befall single calls and submissions are counted by these.
    pub faults: Counts,
    /// What the ingress before the fee server did and saw.
    pub ingress: Tally,
    /// Calls that the fee server got for fees.
    pub requests: u64,
    /// Quotes whose submission was answered with 201.
    pub accepted: usize,
    /// Quotes that are stored: those, and some whose client got no answer.
    pub stored: usize,
    /// Quotes with a fee.
    pub confirmed: usize,
    /// Quotes that were taken back.
    pub cancelled: usize,
    /// Accepted quotes that are not stored, or whose fee no event will bring.
    pub lost: usize,
    /// Fees beyond a quote's first, at the fee server or on record.
    pub doubled: u64,
    /// Fees or quotes of what was refused, rolled back or cancelled.
    pub ghosts: usize,
    /// Quotes for whose fee somebody called after their void, or whose events were delivered in another order.
    pub order_violations: usize,
    /// Quotes that died or were rejected for another's fault.
    pub innocent_dead: usize,
    /// Poison quotes that died, as they may.
    pub guilty_dead: usize,
    /// How long the fleet took to come to rest, each time, in milliseconds; none where it did not.
    pub rests_ms: Vec<Option<u64>>,
    /// The longest of them.
    pub longest_rest_ms: Option<u64>,
    /// How long it may take.
    pub rest_bound_ms: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
}

/// Puts together what was done, seen and found.
pub(super) fn reach(
    done: Done,
    rest_bound: Duration,
    tally: Tally,
    stats: Stats,
    finding: Finding,
    unreadable: Vec<String>,
) -> Verdict {
    let of_nobody = |promise, sentence| Violation { promise, quote_id: Uuid::nil(), sentence };
    let mut violations: Vec<_> = finding.violations.into_iter().map(Violation::from).collect();
    let out_of_order = |quote: &Uuid| Violation {
        promise: 6,
        quote_id: *quote,
        sentence: format!("a fee for quote {quote} was asked for after its void was answered"),
    };
    violations.extend(tally.out_of_order.iter().map(out_of_order));
    let late = done.rests.iter().filter(|rest| rest.took.is_none_or(|took| took > rest_bound));
    violations.extend(late.map(|rest| of_nobody(10, format!("the fleet {rest}; it may take {rest_bound:.1?}"))));
    violations.extend(unreadable.into_iter().map(|sentence| of_nobody(10, sentence)));
    let order_violations = violations.iter().filter(|broken| broken.promise == 6).count();
    let rests_ms: Vec<_> = done.rests.iter().map(|rest| rest.took.map(milliseconds)).collect();
    Verdict {
        longest_rest_ms: rests_ms.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max()),
        rests_ms,
        rest_bound_ms: milliseconds(rest_bound),
        faults: with_those_of_calls(done.faults, &tally),
        requests: stats.requests,
        accepted: finding.accepted,
        stored: finding.stored,
        confirmed: finding.confirmed,
        cancelled: finding.cancelled,
        lost: finding.lost,
        doubled: stats.double_fees.max(finding.doubled as u64),
        ghosts: finding.ghosts,
        order_violations,
        innocent_dead: finding.innocent_dead,
        guilty_dead: finding.guilty_dead,
        violations,
        ingress: tally,
    }
}

fn with_those_of_calls(mut counts: Counts, tally: &Tally) -> Counts {
    let calls = [(Fault::CutAnswers, tally.cut), (Fault::Poison, tally.poisonous)];
    counts.extend(calls.into_iter().filter(|(_, count)| *count > 0));
    counts
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Verdict {
    /// Whether every promise held.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && self.doubled == 0
    }
}
