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
use clap::{Args, ValueEnum};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::try_join_all, stream};
use tokio::sync::Mutex;

use super::{sample_fee_server::parse_rate, testbed};
use run::Experiment;
use timing::Timing;

pub use cost::Cost;
pub use design::Design;
pub use report::{Calm, Percentiles, Plan, Report, Row, Rush};
pub use test_destination::Destination;

/// So many designs run at a time in their storms, all but one of which settle: their sessions fit into a server's default of 100.
const SIDE_BY_SIDE: usize = 5;
/// The most concurrent calls of one process to the fee server: the default of `worker.concurrency`.
const CALLS_AT_ONCE: usize = 256;
/// An API request ends after 10 s, even in a design that calls the fee server during it.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// What to measure: the flags of `feebox compare`.
#[derive(Args, Clone, Debug)]
pub struct Comparison {
    /// Quotes submitted to each design
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub quotes: u32,
    /// Quotes submitted per second
    #[arg(long, value_name = "COUNT", default_value_t = 20.0, value_parser = rate)]
    pub rate: f64,
    /// How long the fee server takes per fee, for example 2s or 250ms; at most 5s, because some designs wait for it
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = latency)]
    pub latency: Duration,
    /// How often all processes of a design are killed (SIGKILL) and restarted
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub crashes: usize,
    /// Share of submissions (0 to 1) whose transaction is rolled back before the commit
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = parse_rate)]
    pub rollback_rate: f64,
    /// How long each design is idle while its database statements are counted
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    pub idle: Duration,
    /// How long clients then submit as fast as possible, to measure the throughput; they end earlier after five times --quotes
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub rush: Duration,
    /// Also measure each design with Kafka: the port of a single test broker on this machine that advertises 127.0.0.1
    /// (advertised.listeners). Its topic feebox.quotes keeps the records
    #[cfg_attr(feature = "kafka", arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..)))]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_port: Option<u16>,
    /// The same with a cluster: all its test brokers on this machine, each 127.0.0.1:PORT as it advertises itself, where the
    /// topic feebox.quotes exists
    #[cfg_attr(
        feature = "kafka",
        arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', conflicts_with = "kafka_port")
    )]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_brokers: Vec<String>,
    /// A shell command that begins Kafka's outage, for example the crash of a broker; without it the way to all brokers is closed
    #[cfg_attr(feature = "kafka", arg(long, value_name = "COMMAND", requires = "kafka_up"))]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_down: Option<String>,
    /// A shell command that ends it
    #[cfg_attr(feature = "kafka", arg(long, value_name = "COMMAND", requires = "kafka_down"))]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_up: Option<String>,
    /// Seed of the random crashes and rollbacks
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Measure only this design (may be repeated)
    #[arg(long = "design", value_name = "DESIGN")]
    pub designs: Vec<Design>,
    /// Directory for compare.md, compare.json, compare.svg and the processes' logs
    #[arg(long, value_name = "DIR", default_value = "feebox-compare")]
    pub out: PathBuf,
    /// A server to create databases on; without one, `SQLite` files in `out`. Not a setting, so that a comparison never runs
    /// on a database in use by mistake.
    #[arg(skip)]
    pub database_url: Option<String>,
}

impl Comparison {
    /// Measures all designs and writes `compare.json`, `compare.md` and `compare.svg`. `progress` gets a line for each step.
    ///
    /// # Errors
    /// If a design cannot be run. Earlier measurements are then not written.
    pub async fn run(mut self, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        self.out = testbed::directory(&self.out)?;
        let designs = if self.designs.is_empty() { Design::value_variants() } else { &self.designs };
        let kafka = (!self.brokers().is_empty()).then_some(Destination::Kafka);
        let destinations = [Some(Destination::FeeServer), kafka];
        let machine = Mutex::default();
        let mut experiments = Vec::new();
        for destination in destinations.into_iter().flatten() {
            for design in designs {
                let name = format!("{}, {}", design.name(), destination.name());
                let prepared = Experiment::prepare(&self, *design, destination, &machine).await;
                experiments.push((prepared.with_context(|| format!("{name} could not be prepared"))?, name));
            }
        }
        let progress = &|name: &str, what: &str| progress(&format!("{name}: {what}"));
        // What one design does would show in what another one costs: each has the machine to itself, but to idle and to settle.
        let mut measured = Vec::new();
        for (experiment, name) in &mut experiments {
            let in_order = experiment.in_order(|what| progress(name, what)).boxed_local();
            measured.push(in_order.await.with_context(|| format!("{name} could not be measured"))?);
        }
        progress("all", "idle");
        let idle = experiments.iter_mut().zip(&mut measured).map(|((it, _), measured)| it.idle(measured).boxed_local());
        try_join_all(idle).await?;
        let in_faults = stream::iter(experiments.into_iter().zip(measured)).map(|((experiment, name), measured)| {
            let row = async move { experiment.in_faults(measured, |what| progress(&name, what)).await };
            row.boxed_local()
        });
        let rows = in_faults.buffered(SIDE_BY_SIDE).try_collect().await?;
        let report = Report::new(&self, rows);
        let write = |name: &str, text: String| std::fs::write(self.out.join(name), text);
        write("compare.json", serde_json::to_string_pretty(&report)? + "\n")?;
        write("compare.md", table::page(&report))?;
        write("compare.svg", picture::draw(&report)?)?;
        Ok(report)
    }

    /// The brokers that are given.
    fn brokers(&self) -> Vec<String> {
        self.kafka_port.map_or_else(|| self.kafka_brokers.clone(), |port| vec![format!("127.0.0.1:{port}")])
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

fn latency(text: &str) -> Result<Duration, String> {
    let latency = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if latency <= LATENCY_MAX { Ok(latency) } else { Err("write a duration of 5s or less".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=10_000.0).contains(rate));
    rate.ok_or_else(|| "write a number from 0.1 to 10000".to_owned())
}
