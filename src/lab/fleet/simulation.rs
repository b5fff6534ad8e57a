//! A fleet, its database and its fee server, in simulated time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{
    Scenario,
    agenda::{Agenda, Happening, Micros, SECOND, micros, scaled},
    server::Server,
    tally::Tally,
    worker::{Ended, Held, Worker},
};
use crate::outbox::{Circuit, DestinationOnPaper, Disposition, Outcome, Policy, Retry, RetryPolicy};

/// What is submitted within this time is stored together, and wakes the workers once.
const SLICE: Micros = SECOND / 10;
/// The default of `worker.schedule`.
const TICK: Micros = 5 * SECOND;
/// So often a worker reads what holds the destination back while events wait.
const HOLDS_READ_EVERY: Micros = SECOND / 2;

/// A fleet, its database and its fee server.
pub(super) struct Simulation {
    pub(super) scenario: Scenario,
    pub(super) policy: Policy,
    pub(super) zero: Instant,
    pub(super) now: Micros,
    pub(super) chance: StdRng,
    pub(super) agenda: Agenda,
    /// Pending events by when they are due, with their attempts.
    pub(super) pending: BTreeMap<(Micros, u64), i32>,
    pub(super) submitted: u64,
    /// Events under a lease that has not ended.
    pub(super) leased: usize,
    pub(super) destination: DestinationOnPaper,
    pub(super) server: Server,
    pub(super) workers: Vec<Worker>,
    pub(super) tally: Tally,
}

impl Simulation {
    pub(super) fn new(scenario: Scenario, seed: u64) -> Self {
        // The jitter of backoffs comes from the seed, see `Self::retry_at`.
        let retry = RetryPolicy::new(Retry { randomization_factor: 0.0, ..Retry::default() });
        let circuit = Circuit { failures: scenario.circuit_failures, ..Circuit::default() };
        let policy = Policy { retry, circuit, ..Policy::default() };
        let zero = Instant::now();
        let server = Server { places: scenario.places, latency: scenario.latency, outage: None, busy: 0 };
        let mut simulation = Self {
            policy: policy.clone(),
            zero,
            now: 0,
            chance: StdRng::seed_from_u64(seed),
            agenda: Agenda::default(),
            pending: BTreeMap::new(),
            submitted: 0,
            leased: 0,
            destination: DestinationOnPaper::new(policy, DateTime::UNIX_EPOCH),
            server,
            workers: (0..scenario.workers).map(|_| Worker::new(scenario.concurrency, zero)).collect(),
            tally: Tally::new(&scenario),
            scenario,
        };
        simulation.plan(0, Happening::Submission);
        simulation.plan(0, Happening::Tick);
        simulation.plan(scenario.outage_from, Happening::OutageBegins);
        simulation.plan(scenario.outage_until, Happening::OutageEnds);
        simulation.plan(scenario.killed_at, Happening::Kill);
        simulation
    }

    /// Plays the scenario to its end.
    pub(super) fn run(mut self) -> Tally {
        while let Some((at, happening)) = self.agenda.next() {
            if at > self.scenario.until {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
        let living = self.workers.iter().filter(|worker| !worker.is_dead);
        self.tally.end(living.map(|worker| (worker.delivered, worker.delivered_after_outage)), self.pending.len());
        self.tally
    }

    pub(super) fn plan(&mut self, after: Micros, happening: Happening) {
        self.agenda.plan(self.now + after, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Submission => {
                let per_slice = self.scenario.per_second * usize::try_from(SLICE).unwrap_or(0) / 1_000_000;
                for _ in 0..per_slice {
                    self.submitted += 1;
                    self.pending.insert((self.now, self.submitted), 0);
                }
                self.tally.waiting(self.now, self.pending.len());
                self.plan(SLICE, Happening::Submission);
                self.wake_all();
            }
            Happening::Tick => {
                self.plan(TICK, Happening::Tick);
                self.wake_all();
            }
            Happening::Wake(worker) => {
                self.workers[worker].rest_ends_at = None;
                self.advance(worker);
            }
            Happening::HoldEnds(worker) => {
                self.workers[worker].is_exhausted = false;
                self.advance(worker);
            }
            Happening::Claim(worker, wanted) => self.claim(worker, wanted),
            Happening::CallEnds(worker, held, begun, outcome, is_worked_on) => {
                self.server.busy -= usize::from(is_worked_on);
                self.call_ended(worker, held, begun, outcome);
            }
            Happening::Settle(worker, ended, is_urgent) => self.settle(worker, &ended, is_urgent),
            Happening::OutageBegins => self.server.outage = Some(self.scenario.outage),
            Happening::OutageEnds => self.server.outage = None,
            Happening::Kill => self.kill(),
            Happening::Rescue(held) => {
                self.leased -= 1;
                self.pending.insert((self.now, held.id), held.attempt);
            }
        }
    }

    fn wake_all(&mut self) {
        let mut order: Vec<_> = (0..self.workers.len()).collect();
        order.shuffle(&mut self.chance);
        for worker in order {
            self.workers[worker].is_exhausted = false;
            self.advance(worker);
        }
    }

    /// A turn of `Run::until_nothing_is_due`.
    pub(super) fn advance(&mut self, number: usize) {
        if self.workers[number].is_dead {
            return;
        }
        self.read_holds(number);
        self.begin_calls(number);
        self.begin_claim(number);
        self.begin_settle(number);
    }

    fn read_holds(&mut self, number: usize) {
        let (now, at) = (self.now, self.utc());
        let worker = &mut self.workers[number];
        if !worker.waiting.is_empty() && now >= worker.holds_read_at + HOLDS_READ_EVERY {
            worker.holds_read_at = now;
            if self.destination.is_held(at) {
                worker.hand_back();
            }
        }
    }

    fn begin_calls(&mut self, number: usize) {
        let now = self.instant();
        loop {
            let worker = &mut self.workers[number];
            if worker.is_urgent || worker.waiting.is_empty() {
                return;
            }
            if worker.limit.places(worker.in_flight.len(), now) == 0 {
                return self.wake_when_rested(number);
            }
            let Some(held) = worker.waiting.pop_front() else { return };
            worker.limit.began(now);
            worker.stock.began(now);
            worker.in_flight.push(held);
            let answer = self.server.call(self.chance.random());
            self.tally.call_began(self.now, self.server.busy, answer.is_worked_on, self.server.outage.is_some());
            let ends = Happening::CallEnds(number, held, self.now, answer.outcome, answer.is_worked_on);
            self.plan(answer.after, ends);
        }
    }

    fn wake_when_rested(&mut self, number: usize) {
        let (zero, now) = (self.zero, self.now);
        let worker = &mut self.workers[number];
        let Some(at) = worker.limit.rested().map(|at| micros(at.saturating_duration_since(zero)) + 1) else { return };
        if worker.rest_ends_at.is_none_or(|earlier| at < earlier) {
            worker.rest_ends_at = Some(at);
            self.plan(at.saturating_sub(now), Happening::Wake(number));
        }
    }

    fn begin_settle(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let is_urgent = worker.is_urgent;
        if worker.finished.is_empty() || worker.settling > usize::from(is_urgent) {
            return;
        }
        worker.settling += 1;
        let finished = std::mem::take(&mut worker.finished);
        let took = self.statement();
        self.plan(took, Happening::Settle(number, finished, is_urgent));
    }

    /// How long a statement of a claim or a settlement takes.
    pub(super) fn statement(&mut self) -> Micros {
        self.chance.random_range(1_000..5_000)
    }

    fn call_ended(&mut self, number: usize, held: Held, begun: Micros, outcome: Outcome<()>) {
        let (now, since) = (self.instant(), self.zero + Duration::from_micros(begun));
        let worker = &mut self.workers[number];
        if worker.is_dead {
            return;
        }
        worker.limit.ended(&outcome, since, now);
        worker.keep(held, outcome, begun, self.policy.circuit.failures);
        self.advance(number);
    }

    fn settle(&mut self, number: usize, ended: &[Ended], is_urgent: bool) {
        if self.workers[number].is_dead {
            return;
        }
        let (at, instant) = (self.utc(), self.instant());
        let attempts: Vec<_> = ended.iter().map(|it| it.attempt(instant)).collect();
        let was_open = self.destination.is_open();
        let became = self.destination.settle(&attempts, self.leased - ended.len(), at);
        self.tally.circuit(self.now, was_open, self.destination.is_open());
        let mut has_failed = false;
        self.leased -= ended.len();
        for (it, (disposition, is_spent)) in ended.iter().zip(became) {
            let delivered = disposition == Disposition::Delivered;
            has_failed |= !delivered;
            match disposition {
                Disposition::Delivered => self.tally.delivered(self.now),
                Disposition::Pending(due_at) => {
                    let due = self.retry_at(due_at, is_spent && !it.held.probe && !it.outcome.is_unsent());
                    self.pending.insert((due, it.held.id), it.held.attempt - i32::from(!is_spent));
                }
                _ => self.tally.died(),
            }
            let worker = &mut self.workers[number];
            worker.delivered += usize::from(delivered);
            worker.delivered_after_outage += usize::from(delivered && self.now > self.scenario.outage_until);
            // The circuit is closed: the events behind the probe need not wait for the next tick.
            worker.is_exhausted &= !(delivered && it.held.probe);
        }
        let is_held = has_failed && self.destination.is_held(at);
        let worker = &mut self.workers[number];
        worker.settling -= 1;
        worker.calls_have_ended(self.now);
        worker.is_urgent &= !is_urgent;
        if is_held {
            worker.hand_back();
        }
        self.advance(number);
    }

    /// When an event is due again that is due at `due_at` without jitter.
    fn retry_at(&mut self, due_at: DateTime<Utc>, has_jitter: bool) -> Micros {
        let wait = micros((due_at - self.utc()).to_std().unwrap_or_default());
        let factor = Retry::default().randomization_factor;
        let jitter = if has_jitter { 1.0 + factor * self.chance.random_range(-1.0..=1.0) } else { 1.0 };
        self.now + scaled(wait, jitter)
    }

    /// Workers die with all that they have in hand. Ticks rescue it when its leases have ended.
    fn kill(&mut self) {
        for number in 0..self.scenario.killed {
            self.workers[number].is_dead = true;
            for held in self.workers[number].all_held() {
                let tick = held.lease_ends.next_multiple_of(TICK);
                self.plan(tick.saturating_sub(self.now), Happening::Rescue(held));
            }
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.zero + Duration::from_micros(self.now)
    }

    pub(super) fn utc(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::microseconds(i64::try_from(self.now).unwrap_or(i64::MAX))
    }
}
