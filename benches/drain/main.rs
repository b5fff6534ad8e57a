//! Fees a second that one worker makes of a backlog, beside what latency alone allows and beside a small hand-written
//! loop, on `PostgreSQL` with durable defaults.
//!
//! ```sh
//! cargo bench --bench drain                      # 20,000 events, 20 ms, 256 calls in the air, 3 rounds of each
//! cargo bench --bench drain -- --events 200000   # memory: does it stay flat?
//! cargo bench --bench drain -- --statistics fresh,stale,never                       # plans: on a young table
//! cargo bench --bench drain -- --statistics fresh,stale,never --delivered 1000000   # plans: beside a history
//! ```
//!
//! The machine's speed drifts, so the two run in turn and only their ratio within a round is quoted.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

mod by_hand;
mod parts;
mod statistics;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;

use parts::Parts;
use statistics::Statistics;

/// What is measured.
#[derive(Debug, Parser)]
struct Drain {
    /// Events in the backlog
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Latency of the fee server
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Calls in the air
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// How often each is run
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Compare the drain by when tables were analysed, the first one being the measure of the others
    #[arg(long, value_enum, value_delimiter = ',')]
    statistics: Vec<Statistics>,
    /// Quotes that were delivered long ago
    #[arg(long, default_value_t = 0)]
    delivered: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let drain = Drain::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut parts = Parts::start(drain.latency).await?;
    let allowed = drain.concurrency as f64 / drain.latency.as_secs_f64();
    println!(
        "{} events, {:?}, {} in the air: latency alone allows {allowed:.0}/s",
        drain.events, drain.latency, drain.concurrency
    );
    if drain.statistics.is_empty() {
        by_hand_too(&drain, &mut parts, allowed).await
    } else {
        by_statistics(&drain, &mut parts).await
    }
}

/// The same worker on the same backlog, round by round, and what the database believes about its tables.
async fn by_statistics(drain: &Drain, parts: &mut Parts) -> anyhow::Result<()> {
    let mut rates = vec![Vec::new(); drain.statistics.len()];
    for round in 1..=drain.rounds {
        for (statistics, rates) in drain.statistics.iter().zip(&mut rates) {
            let backlog = parts.backlog(drain.events, *statistics, drain.delivered).await?;
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

async fn by_hand_too(drain: &Drain, parts: &mut Parts, allowed: f64) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for round in 1..=drain.rounds {
        let backlog = parts.backlog(drain.events, Statistics::Fresh, drain.delivered).await?;
        let feebox = backlog.by_feebox(drain.concurrency).await?;
        let backlog = parts.backlog(drain.events, Statistics::Fresh, drain.delivered).await?;
        let by_hand = backlog.by_hand(drain.concurrency).await?;
        for run in [&feebox, &by_hand] {
            ensure!(run.fees == drain.events, "{} made {} fees in all", run.design, run.fees);
        }
        let ratio = feebox.per_second() / by_hand.per_second();
        println!(
            "round {round}: {feebox}; {by_hand}; ratio {ratio:.2}; of what latency allows {:.2}",
            feebox.per_second() / allowed
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio to the hand-written loop: {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}
