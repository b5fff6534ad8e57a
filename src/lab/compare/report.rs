//! The results of a comparison.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Comparison, Design, Destination, books::Books, cost::Cost};
use crate::lab::testbed::{Answer, Sample};

/// The measurement of all designs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The conditions.
    pub plan: Plan,
    /// One row per design and destination.
    pub rows: Vec<Row>,
}

/// The conditions, the same for each design.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Submissions.
    pub quotes: u32,
    /// Submissions a second.
    pub rate: f64,
    /// How long the fee server takes, in milliseconds.
    pub latency_ms: f64,
    /// How often all processes were killed.
    pub crashes: usize,
    /// The share of submissions that was rolled back.
    pub rollback_rate: f64,
    /// The seed of the random faults.
    pub seed: u64,
    /// `postgres`, `mysql` or `sqlite`.
    pub database: String,
}

/// The measurement of one design.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The design.
    pub design: Design,
    /// Where its quotes went.
    pub destination: Destination,
    /// Response time of accepted submissions, in milliseconds.
    pub response_ms: Percentiles,
    /// Time from submission to fee record (to confirmation, with Kafka), in milliseconds.
    pub fee_lag_ms: Percentiles,
    /// Submissions answered with 201.
    pub accepted: usize,
    /// Submissions answered otherwise.
    pub refused: usize,
    /// Submissions without an answer: the process had crashed.
    pub unanswered: usize,
    /// Accepted, but neither confirmed nor cancelled.
    pub lost: usize,
    /// Quotes that the destination accepted, but that are not stored, or cancelled.
    pub ghosts: usize,
    /// Fees or records beyond a quote's first.
    pub duplicates: u64,
    /// Accepted, then cancelled.
    pub cancelled: usize,
    /// Behaviour and cost when nothing goes wrong.
    #[serde(flatten)]
    pub calm: Calm,
    /// Throughput when clients submit without a pause.
    #[serde(flatten)]
    pub rush: Rush,
}

/// The measurement of a design when nothing goes wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Calm {
    /// Response time, in milliseconds.
    pub calm_response_ms: Percentiles,
    /// Time from submission to fee record (to confirmation, with Kafka), in milliseconds.
    pub calm_fee_lag_ms: Percentiles,
    /// What a quote costs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// The throughput of a design.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rush {
    /// Quotes accepted a second.
    pub accepted_per_second: f64,
    /// Quotes confirmed a second, up to the last confirmation.
    pub confirmed_per_second: f64,
}

/// Percentiles of a series; `None` for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the values are not above it.
    pub p50: Option<f64>,
    /// 99 of 100 values are not above it.
    pub p99: Option<f64>,
}

impl Report {
    pub(super) fn new(plan: &Comparison, rows: Vec<Row>) -> Self {
        let database = plan.database_url.as_deref().and_then(|url| url.split(':').next()).unwrap_or("sqlite");
        let plan = Plan {
            quotes: plan.quotes,
            rate: plan.rate,
            latency_ms: milliseconds(plan.latency),
            crashes: plan.crashes,
            rollback_rate: plan.rollback_rate,
            seed: plan.seed,
            database: database.to_owned(),
        };
        Self { plan, rows }
    }
}

impl Row {
    pub(super) fn new(
        design: Design,
        destination: Destination,
        samples: &[Sample],
        books: Books,
        duplicates: u64,
        (calm, rush): (Calm, Rush),
    ) -> Self {
        let count = |answer: Answer| samples.iter().filter(|sample| sample.answer == answer).count();
        Self {
            design,
            destination,
            response_ms: responses(samples),
            fee_lag_ms: Percentiles::of(books.lags_ms),
            accepted: samples.iter().filter_map(Sample::accepted).count(),
            refused: count(Answer::Refused),
            unanswered: count(Answer::None),
            lost: books.lost,
            ghosts: books.ghosts,
            duplicates,
            cancelled: books.cancelled,
            calm,
            rush,
        }
    }

    pub(super) fn sentence(&self) -> String {
        let Self { accepted, lost, ghosts, duplicates, cancelled, .. } = self;
        format!("{accepted} accepted, {lost} lost, {ghosts} ghosts, {duplicates} duplicates, {cancelled} cancelled")
    }
}

impl Calm {
    pub(super) fn new(samples: &[Sample], books: Books, cost: Cost) -> Self {
        Self { calm_response_ms: responses(samples), calm_fee_lag_ms: Percentiles::of(books.lags_ms), cost }
    }
}

impl Rush {
    pub(super) fn new(samples: &[Sample], took: Duration, books: &Books) -> Self {
        let accepted = samples.iter().filter(|sample| sample.accepted().is_some()).count();
        let accepted = u32::try_from(accepted).map_or(0.0, f64::from);
        let accepted_per_second = accepted / took.as_secs_f64().max(0.001);
        Self { accepted_per_second, confirmed_per_second: books.confirmed_per_second }
    }
}

impl Percentiles {
    /// By the nearest rank: each percentile is a measured value, rounded to one decimal.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).map(|value| (value * 10.0).round() / 10.0)
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// Response times of accepted submissions.
fn responses(samples: &[Sample]) -> Percentiles {
    let accepted = samples.iter().filter(|sample| sample.accepted().is_some());
    Percentiles::of(accepted.map(|sample| milliseconds(sample.took)).collect())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(values), Percentiles { p50: Some(100.0), p99: Some(198.0) });
        assert_eq!(Percentiles::of(vec![7.0]), Percentiles { p50: Some(7.0), p99: Some(7.0) });
        assert_eq!(Percentiles::of(vec![]), Percentiles { p50: None, p99: None });
    }
}
