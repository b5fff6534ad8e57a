//! What a quote costs the database when nothing goes wrong.

use std::time::Duration;

use anyhow::Context;
use reqwest::Client;
use serde::Serialize;

use crate::lab::testbed::Fleet;

/// The metric that counts the application's statements, without `BEGIN` and `COMMIT`.
const STATEMENTS: &str = "feebox_database_statements_total ";

/// How often the metrics are read to learn what reading them costs.
const READINGS: usize = 10;

/// A server's counter before and after, if it has one.
type Counted = [Option<f64>; 2];

/// The cost of a quote, from its submission to its confirmation, and the cost of idling.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// SQL statements from submission to confirmation, without `BEGIN` and `COMMIT`.
    pub statements_per_quote: f64,
    /// Rows inserted, updated and deleted; `PostgreSQL` only.
    pub rows_written_per_quote: Option<f64>,
    /// Bytes of write-ahead log; `PostgreSQL` only.
    pub wal_bytes_per_quote: Option<f64>,
    /// SQL statements while nothing is submitted.
    pub idle_statements_per_minute: f64,
}

impl Cost {
    /// `statements` are the counts before the quotes, after them, and after `idle`; `rows` and `wal_bytes` the server's
    /// counters before and after the quotes.
    pub(super) fn new(quotes: u32, idle: Duration, statements: [f64; 3], rows: Counted, wal_bytes: Counted) -> Self {
        let [before, after, idled] = statements;
        let each = |total: f64| total / f64::from(quotes);
        let counted = |[before, after]: Counted| Some(each(after? - before?));
        Self {
            statements_per_quote: each(after - before),
            rows_written_per_quote: counted(rows),
            wal_bytes_per_quote: counted(wal_bytes),
            idle_statements_per_minute: (idled - after) / idle.as_secs_f64().max(0.001) * 60.0,
        }
    }
}

/// Counts statements by the processes' own metrics. Reading them costs statements too, which are subtracted.
pub(super) struct Meter<'a> {
    client: &'a Client,
    fleet: &'a Fleet,
    readings: f64,
    reading_cost: f64,
}

impl<'a> Meter<'a> {
    pub(super) async fn new(client: &'a Client, fleet: &'a Fleet) -> anyhow::Result<Self> {
        let (mut last, mut reading_cost) = (read(client, fleet).await?, f64::INFINITY);
        // The smallest difference: cron ticks and claims come in between, and only add to it.
        for _ in 0..READINGS {
            let next = read(client, fleet).await?;
            reading_cost = reading_cost.min(next - last);
            last = next;
        }
        Ok(Self { client, fleet, readings: 0.0, reading_cost })
    }

    /// Statements so far, without those of the readings.
    pub(super) async fn statements(&mut self) -> anyhow::Result<f64> {
        self.readings += 1.0;
        Ok(read(self.client, self.fleet).await? - self.readings * self.reading_cost)
    }
}

async fn read(client: &Client, fleet: &Fleet) -> anyhow::Result<f64> {
    let mut total = 0.0;
    for url in fleet.base_urls() {
        let page = client.get(format!("{url}/metrics")).send().await?.text().await?;
        let line = page.lines().find_map(|line| line.strip_prefix(STATEMENTS));
        total += line.context("the metrics count no statements")?.trim().parse::<f64>()?;
    }
    Ok(total)
}
