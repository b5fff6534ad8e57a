//! A fleet of a thousand workers on paper: whether it stampedes a fee server that comes back, and how evenly it spreads its work.
//!
//! Time is a number and chance has a seed, so a run of minutes takes seconds and comes out the same each time. The parts that
//! decide are the product's own: the circuit and what it blames, what follows an attempt, backoff, the limit of calls with its slow
//! start, and how much a worker claims. Database, fee server and the loop around these parts are simulated. A claim or a
//! settlement takes 1 to 5 ms, however many run: what a database bears is measured elsewhere.

mod agenda;
mod claims;
mod report;
mod server;
mod simulation;
mod tally;
mod worker;

use serde::Serialize;

pub use report::Row;
pub use server::Outage;
pub use tally::{Phase, Spread};

use agenda::{Micros, SECOND, as_seconds};
use simulation::Simulation;

/// What is simulated.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    /// Worker processes.
    pub workers: usize,
    /// `worker.concurrency` of each.
    pub concurrency: usize,
    /// Quotes that are submitted a second.
    pub per_second: usize,
    /// Calls that the fee server takes at once. It refuses what is more.
    pub places: usize,
    /// The fleet's limit of calls in flight, if an operator set one.
    pub limit: Option<usize>,
    /// `circuit.failures`.
    pub circuit_failures: u32,
    /// How long a call takes, in microseconds.
    latency: Micros,
    #[serde(skip)]
    outage: Outage,
    outage_from: Micros,
    outage_until: Micros,
    /// Workers that die.
    pub killed: usize,
    killed_at: Micros,
    until: Micros,
}

impl Scenario {
    /// Those that are simulated for so many workers.
    #[must_use]
    pub fn all(workers: usize) -> Vec<Self> {
        let fits = Self {
            name: "places for all calls that the fleet may have in flight",
            workers,
            concurrency: 8,
            per_second: workers * 14,
            places: workers * 8,
            limit: None,
            circuit_failures: 10,
            latency: SECOND / 5,
            outage: Outage::Refuses,
            outage_from: 60 * SECOND,
            outage_until: 120 * SECOND,
            killed: workers / 10,
            killed_at: 30 * SECOND,
            until: 240 * SECOND,
        };
        let defaults = Self { name: "places for a quarter of them", concurrency: 32, ..fits };
        let limit = Some(defaults.places);
        let limited = Self { name: "places for a quarter of them, and a limit of the fleet", limit, ..defaults };
        let hangs =
            Self { name: "the same, and in the outage calls are not answered", outage: Outage::Hangs, ..defaults };
        let small =
            Self { name: "half as many places as workers", places: workers / 2, per_second: workers, ..defaults };
        let limit = Some(small.places);
        let small_limited = Self { name: "half as many places as workers, and a limit of the fleet", limit, ..small };
        let places = (workers / 10).max(4);
        let tiny =
            Self { name: "a tenth as many places as workers", places, per_second: (places * 5 / 3).max(10), ..small };
        vec![fits, limited, defaults, hangs, small_limited, small, tiny]
    }

    /// Calls that the fee server answers a second.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        tally::as_f64(self.places) / as_seconds(self.latency)
    }

    /// Plays it.
    #[must_use]
    pub fn play(self, seed: u64) -> Row {
        Row::of(self, seed, &Simulation::new(self, seed).run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase<'a>(row: &'a Row, name: &str) -> &'a Phase {
        row.phases.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no phase {name}: {row}"))
    }

    /// The claims of docs/scale.md, with fewer workers.
    #[test]
    fn a_fleet_works_its_backlog_off_after_an_outage_and_stampedes_no_fee_server_that_has_places_for_it() {
        for scenario in &Scenario::all(60) {
            let row = scenario.play(7);
            // One probe in a cool-down of 15 s; calls of the first seconds that time out are known late.
            assert!(phase(&row, "outage, after that").calls_per_second < 3.0, "{row}");
            assert!(row.closed_after.is_some_and(|after| after < 31.0), "{row}");
            assert!(row.caught_up_after.is_some_and(|after| after < 120), "{row}");
            assert_eq!(row.dead, 0, "{row}");
            if scenario.limit.is_none() && scenario.places < scenario.workers {
                // Each worker makes one call at a time at least.
                continue;
            }
            for name in ["circuit closed, first second", "circuit closed, 2nd to 5th", "working off"] {
                let phase = phase(&row, name);
                let may_refuse = if scenario.limit.is_some() || scenario.concurrency == 8 { 0.0 } else { 0.5 };
                assert!(phase.of_capacity < 1.5 && phase.refused_a_fee <= may_refuse, "{row}");
            }
        }
    }

    #[test]
    fn work_is_spread_evenly() {
        let row = Scenario::all(60)[0].play(7);
        assert!(row.spread.max_of_mean < 1.25 && row.spread.min_of_mean > 0.75, "{row}");
        assert!(row.spread_after_outage.max_of_mean < 1.25, "{row}");
    }

    #[test]
    fn the_same_seed_plays_the_same_and_another_one_does_not() {
        let scenario = Scenario { until: 20 * SECOND, ..Scenario::all(20)[0] };
        let calls = |seed| scenario.play(seed).calls;
        assert_eq!(calls(1), calls(1));
        assert_ne!(calls(1), calls(2));
    }
}
