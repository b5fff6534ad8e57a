//! `feebox bench`

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;

use super::{Overrides, told_to_stop};
use crate::lab::bench::{self, Question};

/// How fast Feebox is, beside what is written by hand.
#[derive(Args, Debug)]
pub struct Bench {
    /// What to ask (may be repeated); everything if none is given
    #[arg(long = "question", value_name = "QUESTION", value_enum)]
    questions: Vec<Question>,
    /// A server on which databases may be created and dropped (may be repeated); an `SQLite` file if none is given
    #[arg(long = "server", value_name = "URL", default_value = "sqlite:")]
    servers: Vec<String>,
    /// Another `feebox` binary, measured in the same run
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// How often each question is asked
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Callers side by side
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    callers: usize,
    /// For how long submissions are counted
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Events of a backlog
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    events: usize,
    /// Calls in flight while a backlog is drained
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    concurrency: usize,
    /// Where files and the processes' logs go
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
            callers: self.callers.max(1),
            time: self.time,
            events: self.events,
            concurrency: self.concurrency,
            out: self.out,
        };
        let report = tokio::select! {
            report = bench.run(|progress| eprintln!("{progress}")) => report?,
            told = told_to_stop() => {
                told?;
                bail!("stopped before everything was measured");
            }
        };
        if json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            say!("{report}");
        }
        Ok(())
    }
}
