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
        let columns = ["destination", "pending", "leased", "dead", "delivered", "cancelled", "oldest", "1 min"];
        let counted_max = stats.settled_counted_max;
        let rows = stats.destinations.iter().map(|destination| row(destination, stats.unsettled_counted_max));
        say!("{}", print::table(columns, rows));
        say!("{}", stats.headline);
        say!("oldest: how long the oldest due event has been due; 1 min: delivered in the last minute.");
        say!("The delivered and cancelled columns count only the {counted_max} events that settled last.");
        Ok(())
    }
}

fn row(stats: &DestinationStats, counted_max: u64) -> [String; 8] {
    let EventCounts { pending, leased, delivered, dead, cancelled } = stats.events;
    let up_to = |count: u64| if count < counted_max { count.to_string() } else { format!("{count} or more") };
    let [pending, leased, dead] = [pending, leased, dead].map(up_to);
    let [delivered, cancelled] = [delivered, cancelled].map(|count| count.to_string());
    let oldest_due = format!("{:.0} s", stats.oldest_due_seconds);
    let lately = stats.delivered_last_minute.to_string();
    [stats.state.name.clone(), pending, leased, dead, delivered, cancelled, oldest_due, lately]
}
