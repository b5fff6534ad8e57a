//! `feebox compare`

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;

use super::{Overrides, stop_signal};
use crate::lab::compare::{Comparison, Design};

/// An API request ends after 10 s, even in a design that calls the fee server during it.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// Options of `feebox compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// Quotes submitted to each design
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    quotes: u32,
    /// Quotes submitted per second
    #[arg(long, value_name = "COUNT", default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// How long the fee server takes per fee, for example 2s or 250ms; at most 5s, because some designs wait for it
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = latency)]
    latency: Duration,
    /// How often all processes of a design are killed (SIGKILL) and restarted
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    crashes: usize,
    /// Share of submissions (0 to 1) whose transaction is rolled back before the commit
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = share)]
    rollback_rate: f64,
    /// How long each design is idle while its database statements are counted
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// How long clients then submit as fast as possible, to measure the throughput
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    rush: Duration,
    /// Also measure each design with Kafka: the port of a single test broker on this machine that advertises 127.0.0.1
    /// (advertised.listeners). Its topic feebox.quotes keeps the records
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    kafka_port: Option<u16>,
    /// Seed of the random crashes and rollbacks
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Measure only this design (may be repeated)
    #[arg(long = "design", value_name = "DESIGN")]
    designs: Vec<Design>,
    /// Directory for compare.md, compare.json, compare.svg and the processes' logs
    #[arg(long, value_name = "DIR", default_value = "feebox-compare")]
    out: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        overrides.refuse_settings()?;
        let json = self.json;
        let comparison = self.comparison(overrides.database_url);
        let report = tokio::select! {
            report = comparison.run(|progress| eprintln!("{progress}")) => report?,
            stopped = stop_signal() => {
                stopped?;
                bail!("interrupted before all designs were measured");
            }
        };
        if json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            say!("{}", report.tables());
        }
        Ok(())
    }

    /// Ignores the settings, so that a comparison never runs on a database in use by mistake.
    fn comparison(self, database_url: Option<String>) -> Comparison {
        let designs = if self.designs.is_empty() { Design::ALL.to_vec() } else { self.designs };
        Comparison {
            designs,
            quotes: self.quotes,
            rate: self.rate,
            latency: self.latency,
            crashes: self.crashes,
            rollback_rate: self.rollback_rate,
            idle: self.idle,
            rush: self.rush,
            #[cfg(feature = "kafka")]
            broker_port: self.kafka_port,
            #[cfg(not(feature = "kafka"))]
            broker_port: None,
            seed: self.seed,
            database_url,
            out: self.out,
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

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1".to_owned())
}
