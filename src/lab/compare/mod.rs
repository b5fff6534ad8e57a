//! Measures the designs side by side: real processes, the same load, the same faults; then the books are counted.
//!
//! Each design gets a fresh database, a destination with books of its own (a fee server; once more a Kafka broker, if there
//! is one) and three phases. In the *calm* one nothing goes wrong, and it is counted what a quote costs; in the *rush*, how
//! many a second go through. In the *storm* a share of submissions is rolled back, the processes are killed at random
//! moments and the destination goes away for a while; when all that ever settles has settled, it is counted what was lost,
//! invented or doubled.

mod books;
#[cfg(feature = "kafka")]
mod broker;
mod cost;
mod counterpart;
mod design;
#[cfg(feature = "kafka")]
mod gate;
mod pace;
mod picture;
mod report;
mod run;
mod script;
mod table;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;

use pace::Pace;

pub use counterpart::Destination;
pub use design::Design;
pub use report::{Calm, Percentiles, Plan, Report, Row, Rush};

/// How many calls to the fee server a process has open at most: the default of `worker.concurrency`.
const CALLS_AT_ONCE: usize = 256;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which designs, in this order.
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
    /// How long each design is watched doing nothing.
    pub idle: Duration,
    /// How long clients submit without a pause.
    pub rush: Duration,
    /// Where a Kafka broker on this machine listens: with one, each design is measured once more.
    pub broker_port: Option<u16>,
    /// Makes crashes and rollbacks the same again.
    pub seed: u64,
    /// A server to create databases on; `SQLite` files in `out` without one.
    pub database_url: Option<String>,
    /// Where results, logs and files go.
    pub out: PathBuf,
}

impl Comparison {
    /// Measures all designs, one after the other, and writes `compare.json`, `compare.md` and `compare.svg`. `tell` is
    /// told how far it is.
    ///
    /// # Errors
    /// A design could not be run. What was measured before is not written.
    pub async fn run(mut self, tell: impl Fn(&str)) -> anyhow::Result<Report> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        // Processes run in there: their paths must not depend on where that is.
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
            let row = run::measure(&self, *design, *destination, |what| tell(&format!("{step}: {what}"))).await;
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

    /// How long the fee server takes for `quotes`, called as often at once as a process may.
    fn time_for(&self, quotes: usize) -> Duration {
        let rounds = quotes.div_ceil(CALLS_AT_ONCE);
        self.latency.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }

    fn pace(&self, destination: Destination) -> Pace {
        let pace = Pace::of(self.latency);
        match destination {
            Destination::FeeServer => pace,
            Destination::Kafka => pace.for_kafka(),
        }
    }
}
