//! What the fleet says about itself: workers, destinations and events.

use super::Finding;
use crate::{
    database::Database,
    fleet::{self, Workers},
    inspection::{self, DestinationStats},
};

/// An event that has been due for as long should have been delivered or postponed.
const DUE_MAX_SECONDS: f64 = 60.0;

pub(super) async fn examine(db: &Database) -> Vec<Finding> {
    let mut found = Vec::new();
    match fleet::workers(db).await {
        Ok(workers) => found.extend(of_workers(&workers)),
        Err(error) => return vec![Finding::unknown("workers", &error)],
    }
    match inspection::stats(db).await {
        Ok(stats) => {
            found.extend(stats.destinations.iter().flat_map(of_destination));
            found.extend(stats.last_audit.map(|audit| audit.violations).filter(|count| *count > 0).map(|count| {
                let detail = format!("{count} broken promises are known");
                Finding::wrong("promises", detail, "`feebox audit` names each with its quote")
            }));
        }
        Err(error) => found.push(Finding::unknown("destinations", &error)),
    }
    found
}

fn of_workers(workers: &Workers) -> Vec<Finding> {
    let check = "workers";
    let mut found = vec![if workers.workers_alive == 0 {
        Finding::wrong(check, "no worker is alive: nothing is delivered", "start one: `feebox worker`")
    } else {
        Finding::fine(check, format!("{} alive", workers.workers_alive))
    }];
    if !workers.differing_settings.is_empty() {
        let detail = format!("processes differ in {}", workers.differing_settings.join(", "));
        found.push(Finding::wrong(
            check,
            detail,
            "give all of them the same settings; `feebox workers` shows each one's",
        ));
    }
    found
}

fn of_destination(stats: &DestinationStats) -> Vec<Finding> {
    let check = "destinations";
    let name = &stats.state.name;
    let mut found = Vec::new();
    if let Some(pause) = &stats.state.paused {
        let detail = format!("{name} is paused by {} since {}", pause.by, pause.since.format("%F %T UTC"));
        found.push(Finding::wrong(
            check,
            detail,
            format!("`feebox destination resume {name}` when the reason is gone"),
        ));
    }
    if let Some(circuit) = &stats.state.circuit {
        let reason = circuit.reason.as_deref().unwrap_or("no reason is known");
        let detail = format!("the circuit of {name} is open since {}: {reason}", circuit.since.format("%F %T UTC"));
        let advice = "repair what the reason names: a probe finds out by itself";
        found.push(Finding::wrong(check, detail, advice));
    }
    if stats.events.dead > 0 {
        let detail = format!("{} events for {name} are dead", stats.events.dead);
        let advice = "`feebox causes` says why; then `feebox outbox retry` or `feebox outbox cancel`";
        found.push(Finding::wrong("events", detail, advice));
    }
    if found.is_empty() && stats.oldest_due_seconds > DUE_MAX_SECONDS {
        let detail = format!("an event for {name} has been due for {:.0} s", stats.oldest_due_seconds);
        found.push(Finding::wrong(
            "events",
            detail,
            "start more workers, or raise worker.concurrency; `feebox outbox explain EVENT`",
        ));
    }
    if found.is_empty() { vec![Finding::fine(check, format!("{name}: nothing holds it back"))] } else { found }
}
