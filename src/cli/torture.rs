//! `feebox torture`

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use chrono::Utc;
use clap::Args;

use super::{Overrides, PROMISE_BROKEN, print, stop_signal};
use crate::{
    lab::sample_fee_server::Faults,
    lab::torture::{self, Fault, Verdict},
};

/// Violations that are printed per promise.
const PRINTED_MAX: usize = 20;

/// Options of `feebox torture`.
#[derive(Args, Debug)]
pub struct Torture {
    /// How long to inject faults, from 1s to 1d
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = time)]
    time: Duration,
    /// Quotes submitted per second
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Number of workers, besides one API process
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    workers: u8,
    /// Inject only these faults [default: all]
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Inject all faults but these
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',', conflicts_with = "only")]
    without: Vec<Fault>,
    /// Seed of the order of faults; what they hit still differs from run to run
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A shell command that crashes and restarts the database server; without it, this fault is not injected
    #[arg(long, value_name = "COMMAND")]
    database_restart: Option<String>,
    /// How long the fleet may take to settle all events after the last fault [default: by its settings, 13.5s]
    #[arg(long, value_name = "DURATION", value_parser = time)]
    rest_bound: Option<Duration>,
    /// Make the fee server ignore idempotency keys
    #[arg(long)]
    no_idempotency: bool,
    /// Remove the fee server's look-up; with --no-idempotency, double fees are then unavoidable
    #[arg(long)]
    no_lookup: bool,
    /// Directory for the processes' logs
    #[arg(long, value_name = "DIR", default_value = "feebox-torture")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Compare this record of the clients with the database; the command runs it as a separate process
    #[arg(long, value_name = "FILE", hide = true)]
    judge: Option<PathBuf>,
}

impl Torture {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<ExitCode> {
        if let Some(book) = &self.judge {
            say!("{}", torture::judge(book, &overrides.settings()?).await?);
            return Ok(ExitCode::SUCCESS);
        }
        overrides.refuse_settings()?;
        let json = self.json;
        let torture = self.torture(overrides.database_url);
        let verdict = tokio::select! {
            verdict = torture.run(|progress| eprintln!("{} {progress}", Utc::now().format("%T%.3f"))) => verdict?,
            stopped = stop_signal() => {
                stopped?;
                bail!("interrupted before the end of the run");
            }
        };
        if json {
            print::json(&verdict)?;
        } else {
            print_verdict(&verdict);
        }
        Ok(if verdict.is_kept() { ExitCode::SUCCESS } else { ExitCode::from(PROMISE_BROKEN) })
    }

    /// Two in five of the fee server's calls fail by themselves, besides the injected faults.
    fn torture(self, database_url: Option<String>) -> torture::Torture {
        let fee_server = Faults {
            latency: Duration::from_millis(100),
            jitter: Duration::from_millis(100),
            fail_rate: 0.1,
            reset_rate: 0.1,
            commit_reset_rate: 0.1,
            hang_rate: 0.03,
            commit_fail_rate: 0.05,
            slow_body_rate: 0.05,
            slow_body: Duration::from_millis(300),
            seed: Some(self.seed),
            no_idempotency: self.no_idempotency,
            no_lookup: self.no_lookup,
            ..Faults::default()
        };
        let faults: BTreeSet<_> = if self.only.is_empty() {
            Fault::all().into_iter().filter(|fault| !self.without.contains(fault)).collect()
        } else {
            self.only.into_iter().collect()
        };
        torture::Torture {
            time: self.time,
            rate: self.rate,
            workers: self.workers.into(),
            rollback_rate: 0.05,
            faults,
            fee_server,
            seed: self.seed,
            database_url,
            database_restart: self.database_restart,
            rest_bound: self.rest_bound,
            out: self.out,
        }
    }
}

fn print_verdict(verdict: &Verdict) {
    let mut counts = BTreeMap::<_, usize>::new();
    for violation in &verdict.violations {
        let count = counts.entry(violation.promise).or_default();
        *count += 1;
        if *count <= PRINTED_MAX {
            say!("promise {} is broken: {}", violation.promise, violation.sentence);
        }
    }
    for (promise, count) in counts.into_iter().filter(|(_, count)| *count > PRINTED_MAX) {
        say!("promise {promise} is broken {} more times; --json lists all", count - PRINTED_MAX);
    }
    say!(
        "{}",
        print::table(["fault", "times"], verdict.faults.iter().map(|(fault, times)| [fault.name(), times.to_string()]))
    );
    let tally = &verdict.ingress;
    let figures = [
        ("quotes accepted", verdict.accepted.to_string()),
        ("quotes stored", verdict.stored.to_string()),
        ("confirmed", verdict.confirmed.to_string()),
        ("cancelled", verdict.cancelled.to_string()),
        ("poison, dead", verdict.guilty_dead.to_string()),
        ("calls", format!("{}, {} at the fee server", tally.calls, verdict.requests)),
        ("answered by pages, 429", format!("{}, {}", tally.pages, tally.throttled)),
        ("lost", verdict.lost.to_string()),
        ("doubled", verdict.doubled.to_string()),
        ("ghosts", verdict.ghosts.to_string()),
        ("order violations", verdict.order_violations.to_string()),
        ("innocent dead", verdict.innocent_dead.to_string()),
        ("longest time to rest", seconds(verdict.longest_rest_ms)),
        ("bound", seconds(Some(verdict.rest_bound_ms))),
        ("broken promises", verdict.violations.len().to_string()),
    ];
    say!("{}", print::table(["", ""], figures.map(|(name, figure)| [name.to_owned(), figure])));
}

fn seconds(milliseconds: Option<u64>) -> String {
    let seconds = |milliseconds| format!("{:.1} s", Duration::from_millis(milliseconds).as_secs_f64());
    milliseconds.map_or_else(|| "never".to_owned(), seconds)
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_hours(24);
    if range.contains(&time) { Ok(time) } else { Err("write a duration from 1s to 1d".to_owned()) }
}
