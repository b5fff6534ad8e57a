//! What a quote costs the database, when nothing goes wrong.

use std::time::Duration;

use anyhow::Context;
use reqwest::Client;

use crate::lab::trial::Fleet;

/// The metric that counts statements: those of the application, without `BEGIN` and `COMMIT`.
const STATEMENTS: &str = "feebox_database_statements_total ";

/// What a server had counted before and after, if it counts.
type Counted = [Option<f64>; 2];

/// What a quote costs, from its submission to its fee record; and what it costs to wait for quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) statements_per_quote: f64,
    pub(super) rows_written_per_quote: Option<f64>,
    pub(super) wal_bytes_per_quote: Option<f64>,
    pub(super) idle_statements_per_minute: f64,
}

impl Cost {
    /// From the statements before the quotes, after them, and after `idle` without any; and from what the server had
    /// counted before the quotes and after them.
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

/// The statements of the processes, counted by their own metrics since they were started. To look at them costs some,
/// too, which is told apart.
pub(super) struct Meter<'a> {
    client: &'a Client,
    fleet: &'a Fleet,
    looks: f64,
    look_costs: f64,
}

impl<'a> Meter<'a> {
    pub(super) async fn new(client: &'a Client, fleet: &'a Fleet) -> anyhow::Result<Self> {
        let mut readings = Vec::new();
        for _ in 0..3 {
            readings.push(read(client, fleet).await?);
        }
        // The smaller one, should a cron tick have come in between.
        let look_costs = (readings[1] - readings[0]).min(readings[2] - readings[1]);
        Ok(Self { client, fleet, looks: 0.0, look_costs })
    }

    /// How many there were, without those that looking has cost.
    pub(super) async fn statements(&mut self) -> anyhow::Result<f64> {
        self.looks += 1.0;
        Ok(read(self.client, self.fleet).await? - self.looks * self.look_costs)
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
