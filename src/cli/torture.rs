//! `feebox torture`

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use chrono::Utc;
use clap::Args;

use super::{Overrides, PROMISE_BROKEN, print, until_stopped};
use crate::lab::torture::{self, Verdict};

/// Violations that are printed per promise.
const PRINTED_MAX: usize = 20;

/// Options of `feebox torture`.
#[derive(Args, Debug)]
pub struct Torture {
    #[command(flatten)]
    plan: torture::Torture,
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
        let torture = torture::Torture { database_url: overrides.database_url, ..self.plan };
        let progress = |progress: &str| eprintln!("{} {progress}", Utc::now().format("%T%.3f"));
        let verdict = until_stopped(Box::pin(torture.run(progress))).await?;
        if self.json {
            print::json(&verdict)?;
        } else {
            print_verdict(&verdict);
        }
        Ok(if verdict.is_kept() { ExitCode::SUCCESS } else { ExitCode::from(PROMISE_BROKEN) })
    }
}

fn print_verdict(verdict: &Verdict) {
    let finding = &verdict.finding;
    let mut counts = BTreeMap::<_, usize>::new();
    for violation in &finding.violations {
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
        ("quotes accepted", finding.accepted.to_string()),
        ("quotes stored", finding.stored.to_string()),
        ("confirmed", finding.confirmed.to_string()),
        ("cancelled", finding.cancelled.to_string()),
        ("poison, dead", finding.guilty_dead.to_string()),
        ("calls", format!("{}, {} at the fee server", tally.calls, verdict.requests)),
        ("answered by pages, 429", format!("{}, {}", tally.pages, tally.throttled)),
        ("lost", finding.lost.to_string()),
        ("doubled", finding.doubled.to_string()),
        ("ghosts", finding.ghosts.to_string()),
        ("order violations", verdict.order_violations.to_string()),
        ("innocent dead", finding.innocent_dead.to_string()),
        ("longest time to rest", seconds(verdict.longest_rest_ms)),
        ("bound", seconds(Some(verdict.rest_bound_ms))),
        ("broken promises", finding.violations.len().to_string()),
    ];
    say!("{}", print::table(["", ""], figures.map(|(name, figure)| [name.to_owned(), figure])));
}

fn seconds(milliseconds: Option<u64>) -> String {
    let seconds = |milliseconds| format!("{:.1} s", Duration::from_millis(milliseconds).as_secs_f64());
    milliseconds.map_or_else(|| "never".to_owned(), seconds)
}
