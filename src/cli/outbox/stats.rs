//! `feebox outbox stats`

use clap::Args;

use super::super::print;
use crate::{
    database::Database,
    inspection::{self, DestinationStats, EventCounts},
};

/// Options of `feebox outbox stats`.
#[derive(Args, Debug)]
pub struct Stats {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let stats = inspection::stats(db).await?;
        if self.json {
            return print::json(&stats);
        }
        let columns = [
            "destination",
            "pending",
            "leased",
            "dead",
            "delivered",
            "cancelled",
            "oldest due",
            "delivered in the last minute",
        ];
        let counted_max = stats.settled_counted_max;
        say!("{}", print::table(columns, stats.destinations.iter().map(row)));
        say!("{}", stats.headline);
        say!("The delivered and cancelled columns count only the {counted_max} events that settled last.");
        Ok(())
    }
}

fn row(stats: &DestinationStats) -> [String; 8] {
    let EventCounts { pending, leased, delivered, dead, cancelled } = stats.events;
    let [pending, leased, dead, delivered, cancelled] =
        [pending, leased, dead, delivered, cancelled].map(|count| count.to_string());
    let oldest_due = format!("{:.0} s ago", stats.oldest_due_seconds);
    let lately = stats.delivered_last_minute.to_string();
    [stats.state.name.clone(), pending, leased, dead, delivered, cancelled, oldest_due, lately]
}
