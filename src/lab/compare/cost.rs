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
    /// Of `quotes` that cost so many `statements`; `wal_bytes` are the server's counter before and after them.
    pub(super) fn new(quotes: u32, statements: f64, wal_bytes: Counted) -> Self {
        let each = |total: f64| total / f64::from(quotes);
        Self {
            statements_per_quote: each(statements),
            rows_written_per_quote: None,
            wal_bytes_per_quote: difference(wal_bytes).map(each),
            idle_statements_per_minute: 0.0,
        }
    }

    /// So many `statements` were executed in a time without quotes.
    pub(super) fn idled(&mut self, time: Duration, statements: f64) {
        self.idle_statements_per_minute = statements / time.as_secs_f64().max(0.001) * 60.0;
    }

    /// `rows` are the server's counter before and after so many `quotes`.
    pub(super) fn wrote(&mut self, rows: Counted, quotes: usize) {
        let quotes = u32::try_from(quotes).unwrap_or(u32::MAX).max(1);
        self.rows_written_per_quote = difference(rows).map(|rows| rows / f64::from(quotes));
    }
}

fn difference([before, after]: Counted) -> Option<f64> {
    Some(after? - before?)
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
