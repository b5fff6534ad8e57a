//! What was measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Comparison, Design, Destination, books::Books, cost::Cost};
use crate::lab::trial::{Answer, Shot};

/// The measurement of all designs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The conditions.
    pub plan: Plan,
    /// One row a design.
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
    /// Of the dice.
    pub seed: u64,
    /// `postgres`, `mysql` or `sqlite`.
    pub database: String,
}

/// The measurement of one design.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub design: Design,
    /// Where its quotes went.
    pub destination: Destination,
    /// Time to the answer of accepted submissions, in milliseconds.
    pub response_ms: Percentiles,
    /// Time from submission to fee record (to confirmation, with Kafka), in milliseconds.
    pub fee_lag_ms: Percentiles,
    /// Submissions answered with 201.
    pub accepted: usize,
    /// Submissions answered otherwise.
    pub refused: usize,
    /// Submissions not answered: the process died, or was not there.
    pub unanswered: usize,
    /// Accepted, and neither confirmed nor cancelled.
    pub lost: usize,
    /// Quotes that the destination has taken, and that are not stored, or cancelled.
    pub ghosts: usize,
    /// Fees or records beyond the first of a quote.
    pub duplicates: u64,
    /// Accepted, then cancelled.
    pub cancelled: usize,
    /// What the design does and costs when nothing goes wrong.
    #[serde(flatten)]
    pub calm: Calm,
    /// What it does when nobody waits.
    #[serde(flatten)]
    pub rush: Rush,
}

/// The measurement of a design while nothing goes wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Calm {
    /// Time to the answer, in milliseconds.
    pub calm_response_ms: Percentiles,
    /// Time from submission to fee record (to confirmation, with Kafka), in milliseconds.
    pub calm_fee_lag_ms: Percentiles,
    /// SQL statements from submission to confirmation, without `BEGIN` and `COMMIT`.
    pub statements_per_quote: f64,
    /// Rows inserted, updated and deleted; `PostgreSQL` only.
    pub rows_written_per_quote: Option<f64>,
    /// Bytes of write-ahead log; `PostgreSQL` only.
    pub wal_bytes_per_quote: Option<f64>,
    /// SQL statements while nothing is submitted.
    pub idle_statements_per_minute: f64,
}

/// The measurement of a design while as many quotes come as it answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rush {
    /// Quotes accepted a second.
    pub accepted_per_second: f64,
    /// Quotes confirmed a second, until the last one is.
    pub confirmed_per_second: f64,
}

/// Of a series; nothing of an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are not above it.
    pub p50: Option<f64>,
    /// 99 in 100 are not above it.
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
        shots: &[Shot],
        books: Books,
        duplicates: u64,
        (calm, rush): (Calm, Rush),
    ) -> Self {
        let count = |answer: Answer| shots.iter().filter(|shot| shot.answer == answer).count();
        Self {
            design,
            destination,
            response_ms: responses(shots),
            fee_lag_ms: Percentiles::of(books.lags_ms),
            accepted: shots.iter().filter_map(Shot::accepted).count(),
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
    pub(super) fn new(shots: &[Shot], books: Books, cost: Cost) -> Self {
        Self {
            calm_response_ms: responses(shots),
            calm_fee_lag_ms: Percentiles::of(books.lags_ms),
            statements_per_quote: cost.statements_per_quote,
            rows_written_per_quote: cost.rows_written_per_quote,
            wal_bytes_per_quote: cost.wal_bytes_per_quote,
            idle_statements_per_minute: cost.idle_statements_per_minute,
        }
    }
}

impl Rush {
    pub(super) fn new(shots: &[Shot], took: Duration, books: &Books) -> Self {
        let accepted = shots.iter().filter(|shot| shot.accepted().is_some()).count();
        let accepted = u32::try_from(accepted).map_or(0.0, f64::from);
        let accepted_per_second = accepted / took.as_secs_f64().max(0.001);
        Self { accepted_per_second, confirmed_per_second: books.confirmed_per_second }
    }
}

impl Percentiles {
    /// By the nearest rank: each is a value that was measured, to one decimal.
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

/// Of accepted submissions.
fn responses(shots: &[Shot]) -> Percentiles {
    let accepted = shots.iter().filter(|shot| shot.accepted().is_some());
    Percentiles::of(accepted.map(|shot| milliseconds(shot.took)).collect())
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
