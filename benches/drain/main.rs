//! Fees a second that one worker makes from a backlog, compared with the limit set by latency and with a small
//! hand-written loop, on `PostgreSQL` with durable defaults.
//!
//! ```sh
//! cargo bench --bench drain                      # 20,000 events, 20 ms, 256 calls in flight, 3 rounds of each
//! cargo bench --bench drain -- --events 200000   # memory: does it stay flat?
//! cargo bench --bench drain -- --statistics fresh,stale,never                       # plans: on a new table
//! cargo bench --bench drain -- --statistics fresh,stale,never --delivered 1000000   # plans: with a history
//! ```
//!
//! The machine's speed drifts, so the two take turns, and only their ratio within a round counts.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

mod hand_written;
mod setup;
mod statistics;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;

use setup::Setup;
use statistics::Statistics;

/// The options of the benchmark.
#[derive(Debug, Parser)]
struct Drain {
    /// Events in the backlog
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Latency of the fee server
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Calls in flight
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// How often each is run
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Compare drains by when the tables were analysed, relative to the first one
    #[arg(long, value_enum, value_delimiter = ',')]
    statistics: Vec<Statistics>,
    /// Quotes that were delivered long ago
    #[arg(long, default_value_t = 0)]
    delivered: usize,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let drain = Drain::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut setup = Setup::start(drain.latency).await?;
    let allowed = drain.concurrency as f64 / drain.latency.as_secs_f64();
    println!(
        "{} events, {:?}, {} in flight: latency alone allows {allowed:.0}/s",
        drain.events, drain.latency, drain.concurrency
    );
    if drain.statistics.is_empty() {
        with_hand_written(&drain, &mut setup, allowed).await
    } else {
        by_statistics(&drain, &mut setup).await
    }
}

/// Drains the same backlog with the same worker, for each state of the statistics.
async fn by_statistics(drain: &Drain, setup: &mut Setup) -> anyhow::Result<()> {
    let mut rates = vec![Vec::new(); drain.statistics.len()];
    for round in 1..=drain.rounds {
        for (statistics, rates) in drain.statistics.iter().zip(&mut rates) {
            let backlog = setup.backlog(drain.events, *statistics, drain.delivered).await?;
            let run = backlog.by_feebox(drain.concurrency).await?;
            ensure!(run.fees == drain.events, "it made {} fees in all", run.fees);
            rates.push(run.per_second());
        }
        let rates: Vec<_> = rates.iter().map(|rates| rates[round - 1]).collect();
        let each = drain.statistics.iter().zip(&rates);
        let each: Vec<_> =
            each.map(|(statistics, rate)| format!("{statistics} {rate:.0} fees/s ({:.2})", rate / rates[0])).collect();
        println!("round {round}: {}", each.join("; "));
    }
    for (statistics, rates_of) in drain.statistics.iter().zip(&rates) {
        let mut ratios: Vec<_> = rates_of.iter().zip(&rates[0]).map(|(rate, first)| rate / first).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{statistics}: median ratio {:.2}", ratios[ratios.len() / 2]);
    }
    Ok(())
}

async fn with_hand_written(drain: &Drain, setup: &mut Setup, allowed: f64) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for round in 1..=drain.rounds {
        let backlog = setup.backlog(drain.events, Statistics::Fresh, drain.delivered).await?;
        let feebox = backlog.by_feebox(drain.concurrency).await?;
        let backlog = setup.backlog(drain.events, Statistics::Fresh, drain.delivered).await?;
        let hand_written = backlog.by_hand_written(drain.concurrency).await?;
        for run in [&feebox, &hand_written] {
            ensure!(run.fees == drain.events, "{} made {} fees in all", run.design, run.fees);
        }
        let ratio = feebox.per_second() / hand_written.per_second();
        println!(
            "round {round}: {feebox}; {hand_written}; ratio {ratio:.2}; of what latency allows {:.2}",
            feebox.per_second() / allowed
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio to the hand-written loop: {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}
