//! `feebox bench`

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Overrides, print, until_stopped};
use crate::lab::bench::{self, PARTNERS_MAX, Question};

/// Options of `feebox bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// What to measure (may be repeated) [default: everything but dashboards, fairness, fleet, kafka, kafka-stale, tables and workers]
    #[arg(long = "question", value_name = "QUESTION", value_enum)]
    questions: Vec<Question>,
    /// A server on which databases may be created and dropped (may be repeated); sqlite: uses a file
    #[arg(long = "server", value_name = "URL", default_value = "sqlite:")]
    servers: Vec<String>,
    /// Another feebox binary to measure in the same run
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// How often each measurement is repeated
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Concurrent callers; with several numbers submissions are measured with each, and drawn
    #[arg(long, value_name = "COUNT,…", default_value = "64", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    callers: Vec<u16>,
    /// How long submissions are counted
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Number of events in a backlog
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    events: usize,
    /// Number of partners that a backlog to be drained belongs to, each with a token; 1: nobody's, without tokens
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTNERS_MAX)))]
    partners: u32,
    /// How long each fee takes for --question fairness
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    fee_time: Duration,
    /// Concurrent calls while a backlog is delivered
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    concurrency: usize,
    /// Number of delivered events for --question tables and dashboards; with several numbers each is measured, and drawn
    #[arg(long, value_name = "COUNT,…", default_value = "1000000", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
    rows: Vec<u64>,
    /// How often each call of --question tables is made
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    calls: usize,
    /// Number of waiting events beside them
    #[arg(long, value_name = "COUNT", default_value_t = 300_000)]
    waiting: u64,
    /// Brokers for --question kafka and kafka-stale, where the topic feebox.quotes exists: its records stay
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka_brokers: Option<String>,
    /// Number of workers for --question fleet
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    workers: usize,
    /// Seed of the chance in --question fleet: the same seed gives the same figures
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Directory for files and the processes' logs
    #[arg(long, value_name = "DIR", default_value = "feebox-bench")]
    out: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        overrides.refuse_settings()?;
        let json = self.json;
        let questions = if self.questions.is_empty() { Question::ALL.to_vec() } else { self.questions };
        let bench = bench::Bench {
            questions,
            servers: self.servers,
            beside: self.beside,
            rounds: self.rounds.max(1),
            callers: self.callers.into_iter().map(usize::from).collect(),
            time: self.time,
            events: self.events,
            partners: self.partners,
            fee_time: self.fee_time,
            concurrency: self.concurrency,
            rows: self.rows,
            calls: self.calls.max(1),
            waiting: self.waiting.max(1),
            kafka_brokers: self.kafka_brokers,
            fleet: (self.workers.max(1), self.seed),
            out: self.out,
        };
        let report = until_stopped(Box::pin(bench.run(|progress| eprintln!("{progress}")))).await?;
        if json {
            return print::json(&report);
        }
        say!("{report}");
        Ok(())
    }
}
