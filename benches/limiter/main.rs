//! Fees a second of one worker while a share of its calls fails at random, with an overloaded server, and after an outage,
//! on `PostgreSQL` with durable defaults.
//!
//! ```sh
//! cargo bench --bench limiter                               # 20 ms and 200 ms a fee, 1 to 20 %: some eight minutes
//! cargo bench --bench limiter -- --latency 2s --shares 1,5,10,20 --concurrency 256 --seconds 60
//! ```
//!
//! Each cell runs a worker of its own against the same backlog and counts fee records after a warm-up. Its target is
//! 0.85 × (1 - share) of the rate without failures. A call that times out occupies its place for longer than a fee takes; its
//! target is the same fraction of what the remaining places allow.

mod cell;
mod limited_server;
mod setup;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use clap::Parser;

use cell::{Cell, Kind};
use limited_server::LimitedServer;
use setup::Setup;

/// The options of the benchmark.
#[derive(Debug, Parser)]
struct Limiter {
    /// Latencies of the fee server
    #[arg(long, value_delimiter = ',', default_value = "20ms,200ms", value_parser = humantime::parse_duration)]
    latency: Vec<Duration>,
    /// Shares of calls that fail, in percent
    #[arg(long, value_delimiter = ',', default_value = "1,5,10,20")]
    shares: Vec<u32>,
    /// Most calls in flight
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// How many seconds each cell is measured, after a warm-up
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Leave out the overloaded server and the outage
    #[arg(long)]
    failures_only: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let limiter = Limiter::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut setup = Setup::start().await?;
    println!("{:>8} {:>8} {:>6} {:>10} {:>7} {:>7}", "a fee", "fails", "share", "fees/s", "ratio", "target");
    for latency in &limiter.latency {
        let cell = |kind, percent| Cell {
            latency: *latency,
            kind,
            percent,
            concurrency: limiter.concurrency,
            seconds: limiter.seconds,
        };
        let calm = cell(Kind::Refused, 0).measure(&mut setup).await?;
        println!("{:>8} {:>8} {:>6} {calm:>10.0}", text(*latency), "-", "0 %");
        for kind in [Kind::Refused, Kind::Reset, Kind::TimedOut] {
            for percent in &limiter.shares {
                let cell = cell(kind, *percent);
                let (rate, target) = (cell.measure(&mut setup).await?, cell.target());
                let (latency, kind) = (text(*latency), kind.name());
                println!("{latency:>8} {kind:>8} {percent:>4} % {rate:>10.0} {:>7.2} {target:>7.2}", rate / calm);
            }
        }
    }
    if !limiter.failures_only {
        overloaded(&mut setup, limiter.concurrency, limiter.seconds).await?;
        after_an_outage(&mut setup, limiter.concurrency).await?;
    }
    Ok(())
}

/// A server with a quarter of the places that the worker would use; it refuses further calls at once.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn overloaded(setup: &mut Setup, concurrency: usize, seconds: u64) -> anyhow::Result<()> {
    let (latency, places) = (Duration::from_millis(200), (concurrency / 4).max(1));
    let server = LimitedServer::start(latency, places).await?;
    let worker = setup.worker(&server.url(), concurrency, Duration::from_secs(10)).await?;
    tokio::time::sleep(latency * 30).await;
    let before = server.counts();
    tokio::time::sleep(Duration::from_secs(seconds.max(20))).await;
    let after = server.counts();
    drop(worker);
    let (fees, refused) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let capacity = places as f64 / latency.as_secs_f64() * seconds.max(20) as f64;
    println!(
        "overloaded, {places} places for {concurrency}, {latency:?} a fee: {:.2} of its capacity, {:.3} refused calls a fee",
        fees / capacity,
        refused / fees
    );
    Ok(())
}

/// A server that refuses everything until the circuit is open, and then recovers.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn after_an_outage(setup: &mut Setup, concurrency: usize) -> anyhow::Result<()> {
    let latency = Duration::from_millis(500);
    let server = LimitedServer::start(latency, usize::MAX >> 4).await?;
    let worker = setup.worker(&server.url(), concurrency, Duration::from_secs(10)).await?;
    server.wait_for_fees(concurrency * 2).await;
    server.fail(true);
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.fail(false);
    let before = server.counts().0;
    server.wait_for_fees(before + 1).await;
    let full = concurrency as f64;
    print!("after an outage, {latency:?} a fee, share of full speed by round trip:");
    let mut last = server.counts().0;
    for _ in 0..14 {
        tokio::time::sleep(latency).await;
        let now = server.counts().0;
        print!(" {:.2}", (now - last) as f64 / full);
        last = now;
    }
    println!();
    drop(worker);
    Ok(())
}

fn text(latency: Duration) -> String {
    humantime::format_duration(latency).to_string()
}
