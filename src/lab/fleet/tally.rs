//! What is counted of a simulation, second by second.

use serde::Serialize;

use super::{
    Scenario,
    agenda::{Micros, SECOND, as_seconds},
};

/// A second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    begun: usize,
    refused: usize,
    delivered: usize,
    busy_max: usize,
    waiting: usize,
    claims: usize,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Tally {
    scenario: Scenario,
    seconds: Vec<Second>,
    closed_at: Option<Micros>,
    dead: usize,
    left: usize,
    by_worker: Vec<(usize, usize)>,
}

/// A part of the time.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Which.
    pub name: &'static str,
    /// How long it was, in seconds.
    pub seconds: usize,
    /// Calls that began a second.
    pub calls_per_second: f64,
    /// The same in the second with the most.
    pub calls_per_second_max: usize,
    /// That, as a share of what the fee server bears.
    pub of_capacity: f64,
    /// Claims that committed a second, most of which found nothing.
    pub claims_per_second: f64,
    /// The most calls that the fee server worked on, as a share of its places.
    pub places_taken: f64,
    /// Calls that it refused for want of a place, for each that it answered.
    pub refused_a_fee: f64,
}

/// How evenly work was spread over the workers that lived to the end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Deliveries of the one with the most, relative to the mean.
    pub max_of_mean: f64,
    /// Deliveries of the one with the fewest.
    pub min_of_mean: f64,
}

impl Tally {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            scenario: *scenario,
            seconds: vec![Second::default(); index(scenario.until) + 1],
            closed_at: None,
            dead: 0,
            left: 0,
            by_worker: Vec::new(),
        }
    }

    pub(super) fn call_began(&mut self, now: Micros, busy: usize, is_worked_on: bool, is_outage: bool) {
        let second = &mut self.seconds[index(now)];
        second.begun += 1;
        second.refused += usize::from(!is_worked_on && !is_outage);
        second.busy_max = second.busy_max.max(busy);
    }

    pub(super) fn claimed(&mut self, now: Micros) {
        self.seconds[index(now)].claims += 1;
    }

    pub(super) fn delivered(&mut self, now: Micros) {
        self.seconds[index(now)].delivered += 1;
    }

    pub(super) fn waiting(&mut self, now: Micros, waiting: usize) {
        self.seconds[index(now)].waiting = waiting;
    }

    pub(super) fn circuit(&mut self, now: Micros, was_open: bool, is_open: bool) {
        if was_open && !is_open && now > self.scenario.outage_until {
            self.closed_at.get_or_insert(now);
        }
    }

    pub(super) fn died(&mut self) {
        self.dead += 1;
    }

    pub(super) fn end(&mut self, by_worker: impl Iterator<Item = (usize, usize)>, left: usize) {
        (self.by_worker, self.left) = (by_worker.collect(), left);
    }

    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// How long after the outage the circuit closed, in seconds.
    pub(super) fn closed_after(&self) -> Option<f64> {
        self.closed_at.map(|at| as_seconds(at.saturating_sub(self.scenario.outage_until)))
    }

    /// How long after that the fleet had worked its backlog off, in seconds: no more waits than comes in a second.
    pub(super) fn caught_up_after(&self) -> Option<usize> {
        let closed = index(self.closed_at?);
        let is_idle = |second: &Second| second.waiting <= self.scenario.per_second;
        self.seconds[closed + 1..].iter().position(is_idle).map(|after| after + 1)
    }

    /// How long after the circuit had closed the fee server was used by nine tenths, in seconds.
    pub(super) fn full_speed_after(&self) -> Option<usize> {
        let closed = index(self.closed_at?);
        let wanted = self.scenario.capacity() * 0.9;
        self.seconds[closed..].iter().position(|second| as_f64(second.delivered) >= wanted)
    }

    /// The phases of the scenario.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let (from, until) = (index(self.scenario.outage_from), index(self.scenario.outage_until));
        let closed = self.closed_at.map_or(self.seconds.len() - 1, index);
        let caught_up = self.caught_up_after().map_or(self.seconds.len() - 1, |after| closed + after);
        let phases = [
            ("before the outage", 5, from),
            ("outage, its first 3 s", from, from + 3),
            ("outage, after that", from + 3, until),
            ("answers again, circuit open", until, closed),
            ("circuit closed, first second", closed, closed + 1),
            ("circuit closed, 2nd to 5th", closed + 1, closed + 5),
            ("working off", closed + 5, caught_up),
            ("after that", caught_up, self.seconds.len() - 1),
        ];
        let (phases, end) = (phases.into_iter(), self.seconds.len());
        phases.filter(|(_, from, until)| from < until && *from < end).map(|it| self.phase(it)).collect()
    }

    fn phase(&self, (name, from, until): (&'static str, usize, usize)) -> Phase {
        let part = &self.seconds[from..until.min(self.seconds.len())];
        let sum = |of: fn(&Second) -> usize| as_f64(part.iter().map(of).sum());
        let max = |of: fn(&Second) -> usize| part.iter().map(of).max().unwrap_or(0);
        let (begun, refused) = (max(|it| it.begun), sum(|it| it.refused));
        Phase {
            name,
            seconds: part.len(),
            calls_per_second: sum(|it| it.begun) / as_f64(part.len().max(1)),
            calls_per_second_max: begun,
            of_capacity: as_f64(begun) / self.scenario.capacity(),
            claims_per_second: sum(|it| it.claims) / as_f64(part.len().max(1)),
            places_taken: as_f64(max(|it| it.busy_max)) / as_f64(self.scenario.places),
            refused_a_fee: refused / sum(|it| it.delivered).max(1.0),
        }
    }

    /// How evenly the work was spread, all in all, and since the outage.
    pub(super) fn spreads(&self) -> [Spread; 2] {
        [spread(self.by_worker.iter().map(|it| it.0)), spread(self.by_worker.iter().map(|it| it.1))]
    }

    /// Calls that began in each second.
    pub(super) fn calls(&self) -> Vec<usize> {
        self.seconds.iter().map(|second| second.begun).collect()
    }
}

fn spread(delivered: impl Iterator<Item = usize> + Clone) -> Spread {
    let (count, sum) = (delivered.clone().count(), delivered.clone().sum::<usize>());
    let mean = (as_f64(sum) / as_f64(count.max(1))).max(1.0);
    let (max, min) = (delivered.clone().max(), delivered.min());
    Spread { max_of_mean: as_f64(max.unwrap_or(0)) / mean, min_of_mean: as_f64(min.unwrap_or(0)) / mean }
}

fn index(at: Micros) -> usize {
    usize::try_from(at / SECOND).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}
