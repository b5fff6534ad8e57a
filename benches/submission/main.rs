//! How long a client waits for the answer to a submitted quote while the fee server takes 2 s, on `SQLite` and on
//! `PostgreSQL`, and whether each quote gets exactly one fee.
//!
//! ```sh
//! cargo bench --bench submission          # 200 quotes, 8 at a time, a fee server that takes 2 s
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::{StreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};
use support::{Feebox, Postgres, free_address, wait_until_ready};

/// Quotes submitted for the warm-up, so that connections are open and statements prepared, as in a running service.
const WARM_UP: usize = 100;

/// The options of the benchmark.
#[derive(Debug, Parser)]
struct Submission {
    /// Quotes to submit, one per call
    #[arg(long, default_value_t = 200)]
    quotes: usize,
    /// Concurrent calls
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Latency of the fee server
    #[arg(long, default_value = "2s")]
    latency: String,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let submission = Submission::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir()?;
    let postgres = Postgres::start()?;
    let sqlite = format!("sqlite://{}?mode=rwc", directory.path().join("feebox.db").display());
    for (database, url) in [("SQLite", sqlite.as_str()), ("PostgreSQL", postgres.url())] {
        submission.measure(database, url).await.context(database)?;
    }
    Ok(())
}

impl Submission {
    async fn measure(&self, database: &str, url: &str) -> anyhow::Result<()> {
        let (api, fee_server) = (free_address()?.to_string(), free_address()?.to_string());
        let binds = ["dev", "--bind", &api, "--fee-server-bind", &fee_server];
        let _feebox = Feebox::start(&[&binds[..], &["--latency", &self.latency, "--database-url", url]].concat())?;
        wait_until_ready(&format!("http://{api}/readyz")).await?;
        let client = Client::new();
        let quotes = format!("http://{api}/v1/quotes");
        self.submit(&client, &quotes, WARM_UP).await?;
        let submitted = self.submit(&client, &quotes, self.quotes).await?;
        let confirmed = stream::iter(&submitted)
            .map(|(id, _)| confirmed(&client, format!("{quotes}/{id}?wait=30")))
            .buffer_unordered(self.quotes)
            .filter(|confirmed| std::future::ready(*confirmed))
            .count()
            .await;
        let stats: Value = client.get(format!("http://{fee_server}/stats")).send().await?.json().await?;
        let (fees, doubled) = (&stats["fees"], &stats["double_fees"]);
        let mut took: Vec<Duration> = submitted.iter().map(|(_, took)| *took).collect();
        took.sort();
        println!(
            "{database}: {} quotes, {} at a time, fee server {}: p50 {:.1} ms, p99 {:.1} ms; {confirmed} confirmed; the fee \
             server made {fees} fees ({WARM_UP} to warm up), {doubled} doubled",
            submitted.len(),
            self.concurrency,
            self.latency,
            percentile_ms(&took, 50),
            percentile_ms(&took, 99),
        );
        ensure!(confirmed == self.quotes, "not every quote was confirmed");
        ensure!(fees.as_u64() == Some((self.quotes + WARM_UP) as u64) && *doubled == 0, "not one fee a quote");
        Ok(())
    }

    async fn submit(&self, client: &Client, url: &str, count: usize) -> anyhow::Result<Vec<(String, Duration)>> {
        let answers =
            stream::iter(0..count).map(|number| submit(client, url, number)).buffer_unordered(self.concurrency);
        answers.collect::<Vec<_>>().await.into_iter().collect()
    }
}

async fn submit(client: &Client, url: &str, number: usize) -> anyhow::Result<(String, Duration)> {
    let lines = json!([{ "description": "Consulting, one day", "quantity": 3, "unit_price_minor": 95_000 }]);
    let body = json!({ "customer_id": format!("customer-{number}"), "currency": "EUR", "lines": lines });
    let began = Instant::now();
    let answer = client.post(url).json(&body).send().await?;
    let (status, quote): (_, Value) = (answer.status(), answer.json().await?);
    let took = began.elapsed();
    ensure!(status == 201, "{status}: {quote}");
    Ok((quote["id"].as_str().context("no id")?.to_owned(), took))
}

async fn confirmed(client: &Client, url: String) -> bool {
    let Ok(answer) = client.get(url).send().await else { return false };
    answer.json::<Value>().await.is_ok_and(|quote| quote["status"] == "confirmed" && !quote["fee"].is_null())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a few seconds")]
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0.0, |took| took.as_micros() as f64 / 1_000.0)
}
