//! The state of the outbox in one sentence.

use super::{DestinationStats, UNSETTLED_COUNTED_MAX};
use crate::quotes::is_lane;

/// When the oldest due event has waited this long, deliveries do not keep up. Cron ticks come far more often.
pub(super) const LAG_SECONDS: f64 = 60.0;

/// What matters most: that nobody delivers, else a hold, else deliveries that do not keep up, else dead events.
pub(super) fn of(destinations: &[DestinationStats], workers_alive: u64) -> String {
    let waiting: u64 = destinations.iter().map(|stats| stats.events.pending + stats.events.leased).sum();
    if workers_alive == 0 && waiting > 0 {
        return format!("No worker is alive; {} wait. Start one with `feebox worker`.", events(waiting));
    }
    let say = [held_back, lagging, dead];
    say.iter().find_map(|say| destinations.iter().find_map(say)).unwrap_or_else(|| "Deliveries keep up.".into())
}

fn held_back(stats: &DestinationStats) -> Option<String> {
    let (name, waiting) = (&stats.state.name, events(stats.events.pending));
    if let Some(pause) = &stats.state.paused {
        return Some(format!("{name} is paused by {}; {waiting} wait.", pause.by));
    }
    stats.state.circuit.as_ref().map(|_| {
        // Those that wait for a lane are its destination's.
        if is_lane(name) {
            format!("The circuit of {name} is open.")
        } else {
            format!("The circuit of {name} is open; {waiting} wait.")
        }
    })
}

fn lagging(stats: &DestinationStats) -> Option<String> {
    let waits = stats.oldest_due_seconds;
    (waits >= LAG_SECONDS && stats.events.pending > 0).then(|| {
        format!(
            "Deliveries to {} do not keep up: {} wait, the oldest for {waits:.0} s, and {} were delivered in the last \
             minute.",
            stats.state.name,
            events(stats.events.pending),
            stats.delivered_last_minute
        )
    })
}

fn dead(stats: &DestinationStats) -> Option<String> {
    let dead = stats.events.dead;
    (dead > 0).then(|| format!("Deliveries keep up; dead: {} for {}.", events(dead), stats.state.name))
}

fn events(count: u64) -> String {
    match count {
        1 => "1 event".into(),
        UNSETTLED_COUNTED_MAX.. => format!("{UNSETTLED_COUNTED_MAX} events or more"),
        _ => format!("{count} events"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inspection::EventCounts, outbox::DestinationState};

    fn stats(pending: u64, oldest_due_seconds: f64, dead: u64) -> DestinationStats {
        DestinationStats {
            state: DestinationState::unknown("fee-server"),
            events: EventCounts { pending, dead, ..EventCounts::default() },
            oldest_due_seconds,
            delivered_last_minute: 900,
        }
    }

    #[test]
    fn the_headline_names_what_matters_most() {
        assert_eq!(of(&[], 1), "Deliveries keep up.");
        assert_eq!(of(&[stats(5, 3.0, 0)], 1), "Deliveries keep up.");
        assert_eq!(of(&[stats(0, 0.0, 1)], 0), "Deliveries keep up; dead: 1 event for fee-server.");
        assert_eq!(
            of(&[stats(9_000, 368.0, 1)], 1),
            "Deliveries to fee-server do not keep up: 9000 events wait, the oldest for 368 s, and 900 were delivered in \
             the last minute."
        );
        let nobody = of(&[stats(5, 3.0, 0)], 0);
        assert_eq!(nobody, "No worker is alive; 5 events wait. Start one with `feebox worker`.");
        let many = of(&[stats(UNSETTLED_COUNTED_MAX, 368.0, 1)], 1);
        assert!(many.contains("10000 events or more wait, the oldest"), "{many}");
    }
}
