//! The verdict: whether the promises were kept.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{
    fault::{Counts, Fault},
    ingress::Tally,
    injector::Injected,
    judge::{Broken, Finding},
};
use crate::lab::sample_fee_server::Stats;

/// What was injected, the results, and every broken promise.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// How often each fault was injected. Faults of single calls and submissions count these.
    pub faults: Counts,
    /// What the ingress did and saw.
    pub ingress: Tally,
    /// Calls for fees that reached the fee server.
    pub requests: u64,
    /// What the judge found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Quotes whose fee was requested after their void, or whose events were delivered out of order.
    pub order_violations: usize,
    /// The duration of each recovery, in milliseconds; `None` if the fleet did not recover.
    pub rests_ms: Vec<Option<u64>>,
    /// The longest of them.
    pub longest_rest_ms: Option<u64>,
    /// How long a recovery may take.
    pub rest_bound_ms: u64,
}

/// Combines injected faults, observations and findings.
pub(super) fn reach(
    done: Injected,
    rest_bound: Duration,
    tally: Tally,
    stats: Stats,
    mut finding: Finding,
    unreadable: Vec<String>,
) -> Verdict {
    let without_quote = |promise, sentence| Broken { promise, quote_id: Uuid::nil(), sentence };
    let violations = &mut finding.violations;
    let out_of_order = |quote: &Uuid| Broken {
        promise: 6,
        quote_id: *quote,
        sentence: format!("a fee for quote {quote} was requested after its void was answered"),
    };
    violations.extend(tally.out_of_order.iter().map(out_of_order));
    let late = done.recoveries.iter().filter(|recovery| recovery.took.is_none_or(|took| took > rest_bound));
    violations
        .extend(late.map(|recovery| without_quote(10, format!("the fleet {recovery}; the limit is {rest_bound:.1?}"))));
    violations.extend(unreadable.into_iter().map(|sentence| without_quote(10, sentence)));
    let order_violations = violations.iter().filter(|broken| broken.promise == 6).count();
    let rests_ms: Vec<_> = done.recoveries.iter().map(|recovery| recovery.took.map(milliseconds)).collect();
    finding.doubled = finding.doubled.max(stats.double_fees);
    Verdict {
        longest_rest_ms: rests_ms.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max()),
        rests_ms,
        rest_bound_ms: milliseconds(rest_bound),
        faults: with_those_of_calls(done.faults, &tally),
        requests: stats.requests,
        order_violations,
        finding,
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
        self.finding.violations.is_empty() && self.finding.doubled == 0
    }
}
