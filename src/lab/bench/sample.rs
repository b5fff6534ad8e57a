//! What one round came to.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

/// A figure, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Quotes or fees a second.
    PerSecond,
    /// Median of the waits, in milliseconds.
    P50Ms,
    /// 99th percentile of the waits, in milliseconds.
    P99Ms,
    /// Processor time of the measured process a quote, in milliseconds; when idle, a second.
    FeeboxCpuMs,
    /// Processor time of the database's processes a quote, in milliseconds.
    DatabaseCpuMs,
    /// Bytes of the write-ahead log a quote.
    LogBytes,
    /// Transactions a second.
    TransactionsPerSecond,
    /// The memory that was resident, in MiB: the most, and under overload at its end.
    ResidentMib,
    /// Quotes a second that the database stores.
    Capacity,
    /// Accepted quotes a second in the worst five seconds.
    WorstPerSecond,
    /// The same as a share of the capacity.
    WorstOfCapacity,
    /// 99th percentile of the time that a refusal took, in milliseconds.
    RefusedP99Ms,
    /// Calls that were neither accepted nor refused.
    Failed,
    /// The longest that a health check or a read took, in milliseconds.
    HealthMaxMs,
    /// Health checks and reads that were not answered with 200.
    NotReady,
    /// How much memory became resident, in MiB.
    GrowthMib,
    /// How long after the overload calls were still refused or slow, in seconds.
    RecoverySeconds,
    /// Fees a second of one worker.
    OneWorker,
    /// Of two.
    TwoWorkers,
    /// Relative to twice one.
    TwoOfLinear,
    /// Of four.
    FourWorkers,
    /// Relative to four times one.
    FourOfLinear,
    /// Of eight.
    EightWorkers,
    /// Relative to eight times one.
    EightOfLinear,
    /// Relative to what all calls in flight allow.
    OfPlaces,
}

impl Figure {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::PerSecond => "a second",
            Self::P50Ms => "p50 ms",
            Self::P99Ms => "p99 ms",
            Self::FeeboxCpuMs => "CPU ms",
            Self::DatabaseCpuMs => "database CPU ms",
            Self::LogBytes => "log bytes",
            Self::TransactionsPerSecond => "transactions/s",
            Self::ResidentMib => "MiB",
            Self::Capacity => "capacity, a second",
            Self::WorstPerSecond => "a second, worst 5 s",
            Self::WorstOfCapacity => "worst 5 s, of capacity",
            Self::RefusedP99Ms => "refused: p99 ms",
            Self::Failed => "failed",
            Self::HealthMaxMs => "health: max ms",
            Self::NotReady => "health: not 200",
            Self::GrowthMib => "MiB more",
            Self::RecoverySeconds => "recovery s",
            Self::OneWorker => "a second, 1 worker",
            Self::TwoWorkers => "a second, 2 workers",
            Self::TwoOfLinear => "2 workers, of twice one",
            Self::FourWorkers => "a second, 4 workers",
            Self::FourOfLinear => "4 workers, of four times one",
            Self::EightWorkers => "a second, 8 workers",
            Self::EightOfLinear => "8 workers, of eight times one",
            Self::OfPlaces => "8 workers, of what their calls in flight allow",
        }
    }
}

/// The shares of callers for whom it is told how long they waited at most, in percent.
pub(super) const SHARES: [f64; 12] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9];

/// The figures of one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) figures: BTreeMap<Figure, f64>,
    /// How long each of [`SHARES`] waited at most, in milliseconds; empty where nobody waited.
    pub(super) waits_ms: Vec<f64>,
}

impl Sample {
    /// Of how long callers waited.
    pub(super) fn of_durations(durations: impl Iterator<Item = Duration>) -> Self {
        let mut durations: Vec<_> = durations.collect();
        durations.sort_unstable();
        let waits_ms = SHARES.iter().filter_map(|share| nearest_rank(&durations, *share)).collect();
        let mut sample = Self { waits_ms, ..Self::default() };
        for (figure, percent) in [(Figure::P50Ms, 50), (Figure::P99Ms, 99)] {
            sample.note_if(figure, percentile_ms(durations.iter().copied(), percent));
        }
        sample
    }

    /// All figures in a line.
    pub(super) fn in_words(&self) -> String {
        let figures = self.figures.iter().map(|(figure, value)| format!("{} {value:.3}", figure.title()));
        figures.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn note(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }

    pub(super) fn note_if(&mut self, figure: Figure, value: Option<f64>) {
        self.figures.extend(value.map(|value| (figure, value)));
    }

    pub(super) fn per_second(&mut self, count: usize, time: Duration) {
        self.note(Figure::PerSecond, count_as_f64(count) / time.as_secs_f64());
    }

    /// `total`, divided among `count`.
    pub(super) fn each(&mut self, figure: Figure, total: f64, count: usize) {
        self.note(figure, total / count_as_f64(count.max(1)));
    }

    /// What was counted between two readings, if both are there.
    pub(super) fn each_if(&mut self, figure: Figure, before: Option<f64>, after: Option<f64>, unit: f64, count: usize) {
        if let (Some(before), Some(after)) = (before, after) {
            self.each(figure, (after - before) * unit, count);
        }
    }
}

/// This percentile of `durations`, in milliseconds.
pub(super) fn percentile_ms(durations: impl Iterator<Item = Duration>, percent: usize) -> Option<f64> {
    let mut sorted: Vec<_> = durations.collect();
    sorted.sort_unstable();
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map(|it| it.as_secs_f64() * 1e3)
}

/// How long this share of the sorted `durations` took at most, in milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares of counts far below 2^52")]
fn nearest_rank(durations: &[Duration], share_percent: f64) -> Option<f64> {
    let rank = (count_as_f64(durations.len()) * share_percent / 100.0).ceil() as usize;
    durations.get(rank.saturating_sub(1)).map(|it| it.as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn count_as_f64(count: usize) -> f64 {
    count as f64
}
