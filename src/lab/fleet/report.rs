//! What a scenario came to.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{
    Scenario,
    tally::{Phase, Spread, Tally},
};

/// What a scenario came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was simulated.
    pub scenario: Scenario,
    /// Of the run.
    pub seed: u64,
    /// Calls that the fee server answers a second.
    pub capacity: f64,
    /// How long after the outage the circuit closed, in seconds.
    pub closed_after: Option<f64>,
    /// How long after that the fee server was used by nine tenths.
    pub full_speed_after: Option<usize>,
    /// How long after the circuit had closed no backlog was left.
    pub caught_up_after: Option<usize>,
    /// Part by part.
    pub phases: Vec<Phase>,
    /// Over the workers that lived to the end.
    pub spread: Spread,
    /// The same, since the outage.
    pub spread_after_outage: Spread,
    /// Events that were given up.
    pub dead: usize,
    /// Calls that began in each second.
    pub calls: Vec<usize>,
}

impl Row {
    pub(super) fn of(scenario: Scenario, seed: u64, tally: &Tally) -> Self {
        let [spread, spread_after_outage] = tally.spreads();
        Self {
            scenario,
            seed,
            capacity: scenario.capacity(),
            closed_after: tally.closed_after(),
            full_speed_after: tally.full_speed_after(),
            caught_up_after: tally.caught_up_after(),
            phases: tally.phases(),
            spread,
            spread_after_outage,
            dead: tally.dead(),
            calls: tally.calls(),
        }
    }
}

/// As Markdown, which terminals show as well.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { name, workers, concurrency, per_second, places, killed, .. } = self.scenario;
        writeln!(
            f,
            "{name}: {workers} workers with worker.concurrency = {concurrency}, {killed} of which die; {per_second} quotes a second; \
             a fee server with {places} places, which answers {:.0} calls a second",
            self.capacity
        )?;
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(["", "s", "calls/s", "most", "of capacity", "places taken", "refused a fee", "claims/s"]);
        for phase in &self.phases {
            table.add_row([
                phase.name.to_owned(),
                phase.seconds.to_string(),
                format!("{:.1}", phase.calls_per_second),
                phase.calls_per_second_max.to_string(),
                format!("{:.2}", phase.of_capacity),
                format!("{:.2}", phase.places_taken),
                format!("{:.3}", phase.refused_a_fee),
                format!("{:.0}", phase.claims_per_second),
            ]);
        }
        for column in 1..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{table}")?;
        let after = |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), |it| format!("{it:.1} s"));
        let whole = |seconds: Option<usize>| after(seconds.map(super::tally::as_f64));
        let Spread { max_of_mean, min_of_mean } = self.spread;
        write!(
            f,
            "the circuit closed {} after the outage; nine tenths of the capacity {} after that, no backlog {}; of the mean, workers \
             delivered {min_of_mean:.2} to {max_of_mean:.2}, since the outage {:.2} to {:.2}; {} events dead",
            after(self.closed_after),
            whole(self.full_speed_after),
            whole(self.caught_up_after),
            self.spread_after_outage.min_of_mean,
            self.spread_after_outage.max_of_mean,
            self.dead,
        )
    }
}
