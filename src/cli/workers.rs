//! `feebox workers`

use clap::Args;

use super::{
    Overrides,
    print::{self, or_dash, time},
};
use crate::{
    database::Database,
    fleet::{self, Process},
};

/// Options of `feebox workers`.
#[derive(Args, Debug)]
pub struct Workers {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Workers {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let db = Database::connect(&overrides.settings()?.database).await?;
        let found = fleet::workers(&db).await?;
        if self.json {
            return print::json(&found);
        }
        let columns = ["process", "role", "version", "alive", "last seen", "in flight"];
        say!("{}", print::table(columns, found.processes.iter().map(row)));
        for process in &found.processes {
            for (key, value) in &process.differs {
                say!("{}: {key} = {value}, which differs within the fleet", process.name);
            }
        }
        if found.workers_alive == 0 {
            say!("No worker is alive: nothing is delivered until one starts (`feebox worker`).");
        }
        Ok(())
    }
}

fn row(process: &Process) -> [String; 6] {
    let in_flight = process.in_flight.zip(process.limit).map(|(in_flight, limit)| format!("{in_flight} of {limit}"));
    [
        process.name.clone(),
        or_dash(process.role.as_ref()),
        or_dash(process.version.as_ref()),
        if process.alive { "yes".into() } else { "no".into() },
        time(process.seen_at),
        or_dash(in_flight),
    ]
}
