//! `feebox destination`

use clap::Subcommand;

use super::{
    Overrides,
    operator::Operator,
    print::{self, or_dash, time},
};
use crate::{
    database::Database,
    operator,
    outbox::{self, DestinationState, LimitChange, LimitsChange},
};

/// Subcommands of `feebox destination`.
#[derive(Debug, Subcommand)]
pub enum Destination {
    /// Pause deliveries to a destination in the whole fleet
    Pause {
        /// The destination's name, for example fee-server
        name: String,
        #[command(flatten)]
        operator: Operator,
    },
    /// Resume deliveries to a destination
    Resume {
        /// The destination's name, for example fee-server
        name: String,
        #[command(flatten)]
        operator: Operator,
    },
    /// Limit the calls of the whole fleet to a destination; it holds within a second
    Limit {
        /// The destination's name, for example fee-server
        name: String,
        /// The most calls that begin a second, or "none"
        #[arg(long, value_name = "N", value_parser = limit, required_unless_present = "in_flight")]
        per_second: Option<LimitChange>,
        /// The most calls in flight, or "none"
        #[arg(long, value_name = "N", value_parser = limit)]
        in_flight: Option<LimitChange>,
        #[command(flatten)]
        operator: Operator,
    },
    /// List destinations with their pauses, circuit breakers and Retry-After times
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn limit(text: &str) -> Result<LimitChange, String> {
    if text == "none" {
        return Ok(LimitChange::Remove);
    }
    let limit = text.parse().ok().filter(|limit| *limit > 0 && *limit <= 1_000_000);
    limit.map(LimitChange::Set).ok_or_else(|| "write a whole number from 1 to 1000000, or none".into())
}

impl Destination {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let db = Database::connect(&overrides.settings()?.database).await?;
        match self {
            Self::Pause { name, operator } => {
                operator.acting(async |operator| operator::pause(&db, operator, &name).await).await?;
                say!("destination {name} is paused");
            }
            Self::Resume { name, operator } => {
                operator.acting(async |operator| operator::resume(&db, operator, &name).await).await?;
                say!("destination {name} is not paused");
            }
            Self::Limit { name, per_second, in_flight, operator } => {
                let change = LimitsChange {
                    per_second: per_second.unwrap_or_default(),
                    in_flight: in_flight.unwrap_or_default(),
                };
                let limited = operator.acting(async |operator| operator::limit(&db, operator, &name, change).await);
                let limits = limited.await?.limits.in_words();
                say!("destination {name}: limit of the fleet: {}", or_dash(limits));
            }
            Self::List { json } => {
                let destinations = outbox::destinations(db.connection()).await?;
                if json {
                    return print::json(&destinations);
                }
                let columns = ["destination", "paused", "circuit", "not before", "failures in a row", "fleet limit"];
                say!("{}", print::table(columns, destinations.iter().map(row)));
            }
        }
        Ok(())
    }
}

fn row(destination: &DestinationState) -> [String; 6] {
    let because = |reason: &Option<String>| reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let paused = destination.paused.as_ref();
    let circuit = destination.circuit.as_ref();
    [
        destination.name.clone(),
        or_dash(paused.map(|pause| format!("by {} since {}{}", pause.by, time(pause.since), because(&pause.reason)))),
        circuit.map_or_else(
            || "closed".into(),
            |circuit| format!("open since {}{}", time(circuit.since), because(&circuit.reason)),
        ),
        or_dash(destination.not_before.map(time)),
        destination.consecutive_failures.to_string(),
        or_dash(destination.limits.in_words()),
    ]
}
