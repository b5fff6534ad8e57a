//! The control law: time and outcomes come in, a limit comes out. No clock, no lock, no chance.

use std::time::{Duration, Instant};

use super::{
    ceiling::Ceiling,
    chance::{CHANCE_MAX, Chance},
    experiment::{Experiment, Verdict},
    rest::{Rest, Rested},
    sign::{Sign, as_f64},
    slots::Slots,
    tally::{Latency, Tally},
};

/// Fewer failures say nothing.
const FAILURES_MIN: f64 = 3.0;
/// How many standard deviations are out of the ordinary.
const DEVIATIONS: f64 = 2.5;
/// By how much, as a logarithm, latency may rise above the least known before an experiment is made: one half.
const SLOWER: f64 = 0.405;
/// A success is thought to take so long while none was seen, and a place rests no longer than the other.
const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(100);
/// What a window keeps of what was counted before it.
const KEPT: f64 = 0.7;
/// So many windows after a change the slow answers are known, too.
const SETTLED: u32 = 10;
/// So many are enough to see that all are slow.
const QUICK: u32 = 3;
/// How often after a proof more failures count as overload without another one; each ten calm round trips give one back.
const TRUST: u32 = 4;
/// No window is shorter, whatever the latency.
const WINDOW_MIN: Duration = Duration::from_millis(5);
/// The least and the most that is kept of a limit that was too high.
const KEEP: (f64, f64) = (0.3, 0.95);
/// The limit after one probe has succeeded.
const ONE_PROBE: f64 = 2.0;
/// How often an unused limit comes back by itself, a step each time.
const UNUSED_RISE: Duration = Duration::from_secs(1);

/// The state of one worker's limit.
#[derive(Debug, Default)]
pub(super) struct Control {
    max: f64,
    limit: f64,
    in_flight: f64,
    /// Calls that ended lately, the older the less.
    recent: Tally,
    /// Calls that began before say nothing about the present limit.
    fresh_from: Option<Instant>,
    window_began: Option<Instant>,
    in_flight_max: f64,
    /// Windows since the limit was lowered: at first only the fast answers are known.
    windows: u32,
    unused_since: Option<Instant>,
    chance: Chance,
    least: Option<Latency>,
    ceiling: Option<Ceiling>,
    /// The limit doubles each round trip up to here.
    doubling_to: Option<f64>,
    /// The last limit at which all went well: up to there it doubles after an outage.
    healthy: f64,
    experiment: Option<Experiment>,
    /// How long a success takes.
    round_trip: Option<Duration>,
    /// Until when places of calls that failed faster stay taken.
    rest: Rest,
    slots: Slots,
    /// How often more failures still count as overload without a proof.
    trust: u32,
    by_slot: bool,
    /// The limit does not rise, because answers are slow.
    is_frozen: bool,
    /// An experiment is due as soon as enough is known of the present limit.
    wants_experiment: bool,
}

impl Control {
    /// Starts at `max`: there is no sign of trouble yet.
    pub(super) fn new(max: f64) -> Self {
        Self { max, limit: max, healthy: max, ..Self::default() }
    }

    /// The most calls at once at `now`: from 1 to the maximum.
    pub(super) fn limit(&self, now: Instant) -> f64 {
        self.experiment.as_ref().map_or(self.limit, |experiment| experiment.limit(now))
    }

    /// Places of calls that failed faster than a success takes; at `now` the others among them are free again, and count.
    pub(super) fn resting(&mut self, now: Instant, slot: u64) -> usize {
        while let Some((Rested { begun, counts }, ended)) = self.rest.free(now) {
            self.count(counts.then_some(false), begun, ended, slot);
        }
        self.rest.places()
    }

    /// When the next of them is free.
    pub(super) fn rested(&self) -> Option<Instant> {
        self.rest.next()
    }

    /// The limit that holds but for experiments and for the moments after an outage.
    pub(super) fn level(&self) -> f64 {
        let limit = self.experiment.as_ref().map_or(self.limit, |experiment| experiment.from);
        self.doubling_to.unwrap_or(limit).max(limit)
    }

    /// The share of calls that failed lately.
    pub(super) fn failure_share(&self) -> f64 {
        self.recent.share()
    }

    /// A call began.
    pub(super) fn call_began(&mut self, now: Instant) {
        self.in_flight += 1.0;
        self.in_flight_max = self.in_flight_max.max(self.in_flight + as_f64(self.rest.places()));
        if let Some(experiment) = &mut self.experiment {
            experiment.call_began(now);
        }
    }

    /// No call runs.
    pub(super) fn run_begins(&mut self) {
        self.in_flight = 0.0;
    }

    /// The circuit was open: a destination that comes back must not be stampeded. If it opened while the limit was coming back,
    /// then what that had risen to was too much, and it comes back to half of it.
    pub(super) fn restart(&mut self, now: Instant) {
        if self.doubling_to.is_none() {
            self.ceiling = None;
        } else if self.limit > ONE_PROBE {
            self.ceiling = Some(Ceiling::found(self.ceiling, self.limit));
            self.healthy = self.limit / 2.0;
        }
        self.experiment = None;
        self.limit = 1.0;
        self.rest.end();
        self.doubling_to = Some(self.healthy);
        self.start_anew(now);
    }

    /// A call that began at `begun` ended. Slots are times that the whole fleet has in common, such as the minute.
    pub(super) fn call_ended(&mut self, sign: Sign, begun: Instant, now: Instant, slot: u64) {
        self.in_flight = (self.in_flight - 1.0).max(0.0);
        if sign == Sign::OutOfResources && self.is_fresh(begun) {
            self.out_of_resources(now);
        }
        let succeeded = match sign {
            Sign::Success => Some(true),
            Sign::Failure => Some(false),
            Sign::OutOfResources | Sign::Nothing | Sign::NotSent => None,
        };
        if !matches!(sign, Sign::Success | Sign::NotSent) {
            let call = Rested { begun, counts: succeeded.is_some() };
            if self.rest.add(call, self.round_trip.unwrap_or(ROUND_TRIP_UNKNOWN), now) {
                return;
            }
        }
        self.count(succeeded, begun, now, slot);
    }

    fn is_fresh(&self, begun: Instant) -> bool {
        self.fresh_from.is_none_or(|from| begun >= from)
    }

    /// Counts a call; `succeeded` is `None` if it says nothing.
    fn count(&mut self, succeeded: Option<bool>, begun: Instant, now: Instant, slot: u64) {
        if succeeded == Some(true) {
            self.round_trip.get_or_insert(now.saturating_duration_since(begun));
        }
        if let Some(experiment) = &mut self.experiment {
            experiment.call_ended(succeeded, begun, now);
            if let Some(verdict) = experiment.verdict(now) {
                self.conclude(verdict, now);
            }
            return;
        }
        let Some(succeeded) = succeeded.filter(|_| self.is_fresh(begun)) else { return };
        self.recent.count(succeeded, now.saturating_duration_since(begun));
        if succeeded && let Some(target) = self.doubling_to {
            self.limit = (self.limit + 1.0).min(target);
            self.doubling_to = Some(target).filter(|target| self.limit < *target);
        }
        if !succeeded && self.fails_more_than(CHANCE_MAX) {
            return self.lower(self.limit, 0.5, now);
        }
        if !succeeded && self.round_trip.is_some() && self.fails_more_than(self.chance.bound()) {
            return self.suspect(now);
        }
        self.end_window(now, slot);
    }

    /// Our own process lacks resources: the limit falls at once, without an experiment.
    fn out_of_resources(&mut self, now: Instant) {
        self.experiment = None;
        self.doubling_to = None;
        self.limit = (self.limit.min(self.in_flight + 1.0) * 0.7).max(1.0);
        self.ceiling = Some(Ceiling::found(self.ceiling, self.limit));
        self.start_anew(now);
    }

    fn fails_more_than(&self, share: f64) -> bool {
        let (failures, calls) = self.recent_and_running();
        let deviation = (calls * share * (1.0 - share)).sqrt();
        failures >= FAILURES_MIN && failures - 0.5 > calls * share + DEVIATIONS * deviation
    }

    /// Failures and calls. At first, while only the fast ones have ended, running calls count as successes.
    fn recent_and_running(&self) -> (f64, f64) {
        let running = if self.windows > QUICK { 0.0 } else { self.in_flight + as_f64(self.rest.places()) };
        (self.recent.failures(), self.recent.calls() + running)
    }

    /// More fails than by chance. Where overload was proven lately that needs no further proof, a few times.
    fn suspect(&mut self, now: Instant) {
        if self.trust > 0 {
            self.trust -= 1;
            let (failures, calls) = self.recent_and_running();
            return self.lower(self.limit, 1.0 - failures / calls.max(1.0), now);
        }
        self.by_slot = false;
        self.begin_experiment(now);
    }

    fn begin_experiment(&mut self, now: Instant) {
        let in_use = self.limit.min(self.in_flight_max.max(1.0));
        self.doubling_to = None;
        self.wants_experiment = false;
        self.is_frozen = false;
        if in_use < 2.0 {
            // The limit cannot be lowered: calls that fail one at a time fail by chance.
            self.chance.learn(self.recent.failures(), self.recent.calls());
            self.start_anew(now);
            return;
        }
        // Running calls complete what is known of a new limit; a steady flow needs no completion.
        let from = if self.windows <= QUICK { self.fresh_from } else { Some(now) };
        let round_trip = self.recent.round_trip().or(self.round_trip).unwrap_or(ROUND_TRIP_UNKNOWN);
        self.experiment = Some(Experiment::begin((self.limit, in_use), self.recent, from, round_trip, now));
    }

    fn conclude(&mut self, verdict: Verdict, now: Instant) {
        let Some(experiment) = self.experiment.take() else { return };
        match verdict {
            Verdict::Overload { keep, is_queue } => {
                self.least = Latency::lesser(self.least, experiment.latency());
                self.slots.at_once();
                self.wants_experiment = is_queue;
                self.trust = if is_queue { self.trust } else { TRUST };
                self.lower(experiment.in_use, keep, now);
            }
            Verdict::Chance => {
                let (failures, calls) = experiment.seen();
                if failures > (calls + experiment.running()) * CHANCE_MAX {
                    return self.lower(experiment.in_use, 0.5, now);
                }
                self.chance.learn(failures, calls);
                self.least = experiment.latency_before().or(self.least);
                self.limit = experiment.from;
                if experiment.asks_for_share() {
                    self.ceiling = None;
                }
                self.trust = 0;
                self.doubling_to = Some(self.healthy).filter(|healthy| *healthy > self.limit);
                if self.by_slot {
                    self.slots.less_often();
                }
                self.recent = experiment.before();
                self.window_began = Some(now);
                self.in_flight_max = self.in_flight;
            }
        }
    }

    fn lower(&mut self, from: f64, keep: f64, now: Instant) {
        self.ceiling = Some(Ceiling::found(self.ceiling, from));
        self.doubling_to = None;
        self.limit = (from * keep.clamp(KEEP.0, KEEP.1) * 0.97).max(1.0);
        self.start_anew(now);
    }

    fn start_anew(&mut self, now: Instant) {
        self.recent = Tally::default();
        self.windows = 0;
        self.fresh_from = Some(now);
        self.window_began = Some(now);
        self.in_flight_max = self.in_flight;
    }

    /// A window is a round trip. At its end the limit rises if it was used and there is no sign of overload.
    fn end_window(&mut self, now: Instant, slot: u64) {
        let began = *self.window_began.get_or_insert(now);
        let round_trip = self.round_trip.unwrap_or(ROUND_TRIP_UNKNOWN).max(WINDOW_MIN);
        if now < began + round_trip {
            return;
        }
        let used = self.in_flight_max >= self.limit * 0.8;
        self.windows = self.windows.saturating_add(u32::from(self.round_trip.is_some()));
        let latency = self.recent.latency().filter(|_| self.windows > QUICK);
        if self.recent.successes() > 0.0 {
            self.round_trip = self.recent.round_trip();
        }
        self.chance.forget(&self.recent);
        let slower = latency.zip(self.least).map(|(latency, least)| latency.slower_than(&least));
        let is_slow = slower.is_some_and(|(slower, error)| slower > SLOWER.max(3.0 * error));
        let asked = self.slots.is_due(slot) || self.wants_experiment;
        if is_slow && !self.is_frozen {
            // Answers from while the limit rose belong to lower limits: it is frozen for a few windows, then judged.
            (self.is_frozen, self.doubling_to) = (true, None);
            return self.start_anew(now);
        }
        let is_known = latency.is_some() || self.recent.failures() >= FAILURES_MIN;
        if used && self.in_flight_max >= 2.0 && is_known && (is_slow || asked) {
            self.by_slot = !is_slow;
            return self.begin_experiment(now);
        }
        self.is_frozen &= is_slow || latency.is_none();
        if !is_slow && self.recent.successes() > 0.0 && self.recent.share() <= CHANCE_MAX {
            if self.doubling_to.is_none() {
                self.healthy = self.limit;
            }
            if self.windows > SETTLED || self.doubling_to.is_some() {
                self.least = Latency::lesser(self.least, latency);
                if self.windows.is_multiple_of(SETTLED) && self.trust > 0 {
                    self.trust = (self.trust + 1).min(TRUST);
                }
            }
            self.rise(used, now);
        }
        self.recent.fade(KEPT);
        self.window_began = Some(now);
        self.in_flight_max = self.in_flight;
    }

    fn rise(&mut self, used: bool, now: Instant) {
        if !used {
            let since = *self.unused_since.get_or_insert(now);
            if now < since + UNUSED_RISE {
                return;
            }
        }
        self.unused_since = None;
        self.wants_experiment &= used;
        if self.doubling_to.is_some() || self.is_frozen || (self.wants_experiment && used) {
            return;
        }
        self.limit = Ceiling::rise(self.ceiling, self.limit, self.windows > QUICK).min(self.max);
        self.ceiling = self.ceiling.filter(|it| self.limit < self.max && !it.is_passed(self.limit));
    }
}
