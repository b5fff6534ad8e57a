//! Measures the designs side by side: real processes, the same load, the same faults; then it compares the books.
//!
//! Each design gets a fresh database, a destination with books of its own (a fee server, then a Kafka broker if there
//! is one) and three phases. In the *calm* phase nothing goes wrong; it shows what a quote costs. The *rush* shows how
//! many quotes a second go through. In the *storm* a share of submissions is rolled back, the processes are killed at
//! random moments, and the destination is unavailable for a while; when everything that can settle has settled, it
//! shows what was lost, invented or doubled.

mod books;
#[cfg(feature = "kafka")]
mod broker;
#[cfg(feature = "kafka")]
mod broker_proxy;
mod cost;
mod design;
mod fault_schedule;
mod picture;
mod report;
mod run;
mod table;
mod test_destination;
mod timing;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;

use timing::Timing;

pub use design::Design;
pub use report::{Calm, Percentiles, Plan, Report, Row, Rush};
pub use test_destination::Destination;

/// The most concurrent calls of one process to the fee server: the default of `worker.concurrency`.
const CALLS_AT_ONCE: usize = 256;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The designs, in this order.
    pub designs: Vec<Design>,
    /// Submissions to each design in the storm.
    pub quotes: u32,
    /// Submissions a second.
    pub rate: f64,
    /// How long the fee server takes for a fee.
    pub latency: Duration,
    /// How often the processes are killed in the storm.
    pub crashes: usize,
    /// The share of submissions that is rolled back in the storm.
    pub rollback_rate: f64,
    /// How long each design is measured while idle.
    pub idle: Duration,
    /// How long clients submit without a pause.
    pub rush: Duration,
    /// The port of a local Kafka broker; with it, each design is measured again with Kafka.
    pub broker_port: Option<u16>,
    /// Makes crashes and rollbacks reproducible.
    pub seed: u64,
    /// A server to create databases on; without one, `SQLite` files in `out`.
    pub database_url: Option<String>,
    /// The directory for results, logs and files.
    pub out: PathBuf,
}

impl Comparison {
    /// Measures all designs, one after the other, and writes `compare.json`, `compare.md` and `compare.svg`. `progress`
    /// gets a line for each step.
    ///
    /// # Errors
    /// If a design cannot be run. Earlier measurements are then not written.
    pub async fn run(mut self, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        // The processes run in this directory, so their paths must be absolute.
        self.out = self.out.canonicalize()?;
        let mut rows = Vec::new();
        let destinations = [Some(Destination::FeeServer), self.broker_port.map(|_| Destination::Kafka)];
        let runs: Vec<_> = destinations
            .into_iter()
            .flatten()
            .flat_map(|destination| self.designs.iter().map(move |design| (*design, destination)))
            .collect();
        for (index, (design, destination)) in runs.iter().enumerate() {
            let name = format!("{}, {}", design.name(), destination.name());
            let step = format!("[{}/{}] {name}", index + 1, runs.len());
            let row = run::measure(&self, *design, *destination, |what| progress(&format!("{step}: {what}"))).await;
            rows.push(row.with_context(|| format!("{name} could not be measured"))?);
        }
        let report = Report::new(&self, rows);
        let write = |name: &str, text: String| std::fs::write(self.out.join(name), text);
        write("compare.json", serde_json::to_string_pretty(&report)? + "\n")?;
        write("compare.md", table::page(&report))?;
        write("compare.svg", picture::draw(&report)?)?;
        Ok(report)
    }

    fn load(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.quotes) / self.rate)
    }

    /// How long the fee server takes for `quotes` with that many concurrent calls.
    fn time_for(&self, quotes: usize) -> Duration {
        let rounds = quotes.div_ceil(CALLS_AT_ONCE);
        self.latency.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }

    fn timing(&self, destination: Destination) -> Timing {
        let timing = Timing::of(self.latency);
        match destination {
            Destination::FeeServer => timing,
            Destination::Kafka => timing.for_kafka(),
        }
    }
}
