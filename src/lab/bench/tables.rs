//! Whether calls slow down as tables grow: each call of the lists and of the statistics, beside a long history and a backlog.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Bench, caller::Caller, fill::Fill, stage::Stage};

/// Events that are dead.
const DEAD: u64 = 10_000;

/// How long one call takes.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// `PostgreSQL` or `MariaDB`.
    pub database: &'static str,
    /// Delivered events in the tables.
    pub rows: u64,
    /// Path and query.
    pub call: String,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// The 95th percentile, in milliseconds.
    pub p95_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

impl Call {
    pub(super) fn of(database: &'static str, rows: u64, call: String, mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100).map_or(0.0, milliseconds);
        Self { database, rows, call, p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), max_ms: at(100) }
    }
}

/// Fills a database, and measures all calls on it.
pub(super) async fn measure(
    bench: &Bench,
    rows: u64,
    stage: &Stage,
    database: &'static str,
) -> anyhow::Result<Vec<Call>> {
    let fill = Fill { delivered: rows, waiting: bench.waiting, dead: DEAD };
    let quote_id = fill.run(stage).await?;
    let serve = stage.start("serve", &[]).await?;
    let mut caller = Caller::connect(serve.address).await?;
    let mut calls = Vec::new();
    for call in all_calls(&quote_id) {
        let mut took = Vec::with_capacity(bench.calls);
        for number in 0..bench.calls + 3 {
            let begun = Instant::now();
            caller.get(&call).await?;
            // The first ones fill caches.
            if number >= 3 {
                took.push(begun.elapsed());
            }
        }
        // Each database has quotes of its own.
        calls.push(Call::of(database, rows, call.replace(&quote_id, "…"), took));
    }
    Ok(calls)
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Each filter alone and together with each status; also those that find nothing.
fn all_calls(quote_id: &str) -> Vec<String> {
    let mut calls = vec!["/v1/stats".to_owned(), "/metrics".to_owned(), "/v1/actions".to_owned()];
    let filters = ["", "customer_id=customer-7", "customer_id=nobody"];
    for status in ["", "pending", "confirmed", "rejected", "cancelled"] {
        calls.extend(filters.map(|filter| path("/v1/quotes", status, filter)));
    }
    let of_quote = format!("quote_id={quote_id}");
    let filters = [
        "",
        "destination=fee-server",
        "destination=kafka",
        "event_type=quote.submitted",
        "event_type=quote.cancelled",
        &of_quote,
        "error_contains=unavailable",
        "error_contains=nothing-like-it",
    ];
    for status in ["", "pending", "leased", "delivered", "dead", "cancelled"] {
        calls.extend(filters.map(|filter| path("/v1/outbox", status, filter)));
    }
    calls
}

fn path(list: &str, status: &str, filter: &str) -> String {
    let status = if status.is_empty() { String::new() } else { format!("status={status}") };
    let query: Vec<_> = [status.as_str(), filter].into_iter().filter(|part| !part.is_empty()).collect();
    if query.is_empty() { list.to_owned() } else { format!("{list}?{}", query.join("&")) }
}
