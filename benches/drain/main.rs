//! Fees a second that one worker makes of a backlog, beside what latency alone allows and beside a small hand-written
//! loop, on `PostgreSQL` with durable defaults.
//!
//! ```sh
//! cargo bench --bench drain                      # 20,000 events, 20 ms, 256 calls in the air, 3 rounds of each
//! cargo bench --bench drain -- --events 200000   # memory: does it stay flat?
//! ```
//!
//! The machine's speed drifts, so the two run in turn and only their ratio within a round is quoted.

mod by_hand;
mod parts;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;

use parts::Parts;

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
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
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
    let mut ratios = Vec::new();
    for round in 1..=drain.rounds {
        let feebox = parts.fresh_backlog(drain.events).await?.by_feebox(drain.concurrency).await?;
        let by_hand = parts.fresh_backlog(drain.events).await?.by_hand(drain.concurrency).await?;
        for run in [&feebox, &by_hand] {
            ensure!(run.fees == drain.events, "{} made {} fees of {}", run.design, run.fees, drain.events);
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
