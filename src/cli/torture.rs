//! `feebox torture`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;

use super::{Overrides, PROMISE_BROKEN, print, told_to_stop};
use crate::{
    sample_fee_server::Faults,
    torture::{self, Torments, Verdict},
};

/// A fleet under torture.
#[derive(Args, Debug)]
pub struct Torture {
    /// For how long, from 1s to 1d
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = time)]
    time: Duration,
    /// Submissions a second
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Workers, beside one process that serves
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    workers: u8,
    /// The torments are those of this number; what they hit differs from run to run
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Let the fee server ignore idempotency keys
    #[arg(long)]
    no_idempotency: bool,
    /// Let the fee server know no look-up; with --no-idempotency a promise that nobody can keep then
    #[arg(long)]
    no_lookup: bool,
    /// Where the processes' log goes
    #[arg(long, value_name = "DIR", default_value = "feebox-torture")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Torture {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<ExitCode> {
        overrides.refuse_settings()?;
        let json = self.json;
        let torture = self.torture(overrides.database_url);
        let verdict = tokio::select! {
            verdict = torture.run(|progress| eprintln!("{progress}")) => verdict?,
            told = told_to_stop() => {
                told?;
                bail!("stopped before there was a verdict");
            }
        };
        if json {
            print::json(&verdict)?;
        } else {
            print_verdict(&verdict);
        }
        Ok(if verdict.is_kept() { ExitCode::SUCCESS } else { ExitCode::from(PROMISE_BROKEN) })
    }

    /// One call in three meets a fault, beside the outages.
    fn torture(self, database_url: Option<String>) -> torture::Torture {
        let faults = Faults {
            latency: Duration::from_millis(100),
            jitter: Duration::from_millis(100),
            fail_rate: 0.1,
            reset_rate: 0.1,
            commit_reset_rate: 0.1,
            hang_rate: 0.03,
            seed: Some(self.seed),
            no_idempotency: self.no_idempotency,
            no_lookup: self.no_lookup,
            ..Faults::default()
        };
        torture::Torture {
            time: self.time,
            rate: self.rate,
            workers: self.workers.into(),
            rollback_rate: 0.05,
            faults,
            seed: self.seed,
            database_url,
            out: self.out,
        }
    }
}

fn print_verdict(verdict: &Verdict) {
    let Verdict { torments, accepted, stored, confirmed, requests, double_fees, violations } = verdict;
    let Torments { kills, freezes, outages } = torments;
    for violation in violations {
        say!("promise {} is broken: {}", violation.promise, violation.sentence);
    }
    say!("{kills} kills, {freezes} freezes, {outages} outages of the fee server, which got {requests} calls");
    say!("{accepted} quotes accepted, {stored} stored, {confirmed} confirmed, {double_fees} double fees");
    say!("{} broken promises", violations.len());
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_hours(24);
    if range.contains(&time) { Ok(time) } else { Err("write a duration from 1s to 1d".to_owned()) }
}
