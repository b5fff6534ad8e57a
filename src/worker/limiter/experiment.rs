//! An experiment: fewer calls for a moment show whether failures or slow answers come from overload.

use std::time::{Duration, Instant};

use super::tally::{Latency, Tally, calls_to_distinguish, likelier};

/// From which share of failures on, which part of the limit is kept during an experiment. The more fails, the more must be
/// taken away to see a difference, as other workers may go on as before: with these parts, one worker of four sees it.
const LOWERED: [(f64, f64); 3] = [(0.15, 0.25), (0.05, 0.5), (0.0, 0.7)];
/// A smaller share of failures is not asked about.
const SHARE_MIN: f64 = 0.015;
/// Evidence (logarithm of the odds) for which a verdict is given at once.
const EVIDENCE: f64 = 3.0;
/// Evidence that is enough when no more comes.
const EVIDENCE_LEFT: f64 = 1.0;
/// The longest cohort, in times of the lowered limit.
const COHORT_MAX: f64 = 4.0;
/// A cohort may be so large, however low the limit.
const CALLS_ENOUGH: f64 = 100.0;
/// Latency must fall by this part of what a queue that is shorter by as much would make of it.
const LATENCY_PART: f64 = 0.7;
/// Without a verdict the limit is lowered for so many round trips after the last call of the cohort began; slow calls
/// are waited for at the old limit.
const WAIT_ROUND_TRIPS: u32 = 2;
/// The longest wait for calls that do not end.
const PATIENCE: Duration = Duration::from_mins(5);

/// The result of an experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Fewer calls fail less, or are answered faster, by more than their number: `keep` is the part of the old limit
    /// that the destination bears.
    Overload { keep: f64, is_queue: bool },
    /// It does not depend on our load.
    Chance,
}

/// A running experiment. Its cohort are the calls that began since the limit was lowered. Running calls count for neither
/// side until they have ended, so that slow failures (timeouts) do not mislead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experiment {
    /// The limit before.
    pub from: f64,
    /// The limit, or the number of running calls if that was less.
    pub in_use: f64,
    /// The part of what was in use that is left.
    part: f64,
    /// The results of calls at that limit: those that began since then.
    before: Tally,
    before_from: Option<Instant>,
    began: Instant,
    round_trip: Duration,
    closed: Option<Instant>,
    begun: f64,
    ignored: f64,
    cohort: Tally,
}

impl Experiment {
    /// Begins one at `now`. `in_use` is the limit, or the number of running calls if that is lower.
    pub(super) fn begin(
        (from, in_use): (f64, f64),
        before: Tally,
        before_from: Option<Instant>,
        round_trip: Duration,
        now: Instant,
    ) -> Self {
        let part = part(&before);
        Self {
            from,
            in_use,
            part,
            before,
            before_from,
            began: now,
            round_trip,
            closed: None,
            begun: 0.0,
            ignored: 0.0,
            cohort: Tally::default(),
        }
    }

    /// The limit that holds at `now`, given `in_use` of before.
    pub(super) fn limit(&self, now: Instant) -> f64 {
        let waited = self.closed.is_some_and(|closed| now > closed + self.round_trip * WAIT_ROUND_TRIPS);
        if waited { self.from } else { self.low() }
    }

    pub(super) fn call_began(&mut self, now: Instant) {
        if self.closed.is_none() {
            self.begun += 1.0;
            if self.begun >= self.cohort_size() && now >= self.began + self.round_trip {
                self.closed = Some(now);
            }
        }
    }

    /// Learns from a call; `succeeded` is `None` if it says nothing.
    pub(super) fn call_ended(&mut self, succeeded: Option<bool>, begun: Instant, now: Instant) {
        let too_late = self.closed.is_some_and(|closed| begun > closed);
        let took = now.saturating_duration_since(begun);
        if begun < self.began {
            // While the limit comes down: after that only slow ones are left.
            let is_usual = self.before_from.is_none_or(|from| begun >= from) && now <= self.began + self.settling();
            if let Some(succeeded) = succeeded.filter(|_| is_usual) {
                self.before.count(succeeded, took);
            }
            return;
        }
        if too_late {
            return;
        }
        match succeeded {
            Some(succeeded) => self.cohort.count(succeeded, took),
            None => self.ignored += 1.0,
        }
    }

    /// Until the calls from before have ended, but for slow ones.
    fn settling(&self) -> Duration {
        self.round_trip * 3 / 2
    }

    fn low(&self) -> f64 {
        (self.in_use * self.part).floor().max(1.0)
    }

    /// More failed before than was known when it began: too few calls were taken away to see a difference. Returns whether
    /// more are taken away now.
    fn deepen(&mut self, now: Instant) -> bool {
        let part = part(&self.before);
        if part >= self.part || self.low() <= 1.0 {
            return false;
        }
        self.part = part;
        (self.began, self.closed) = (now, None);
        (self.begun, self.ignored, self.cohort) = (0.0, 0.0, Tally::default());
        self.before_from = Some(now);
        true
    }

    /// Whether enough failed to ask why.
    pub(super) fn asks_for_share(&self) -> bool {
        self.before.failures() >= 3.0 && self.before.share() > SHARE_MIN
    }

    fn cohort_size(&self) -> f64 {
        let spread = self.before.latency().map_or(0.0, |latency| latency.variance);
        let for_share = if self.asks_for_share() {
            calls_to_distinguish(self.before.share(), if_overload(&self.before, self.part), EVIDENCE)
        } else {
            0.0
        };
        for_share.max(250.0 * spread).max(10.0).clamp(self.low(), (self.low() * COHORT_MAX).max(CALLS_ENOUGH))
    }

    /// The verdict, once there is one.
    pub(super) fn verdict(&mut self, now: Instant) -> Option<Verdict> {
        if now < self.began + self.settling() {
            return None;
        }
        let running = self.running();
        let complete = self.closed.is_some() && running < 1.0;
        let ended = complete || now > self.began + PATIENCE;
        if self.asks_for_share() {
            let (failures, calls) = (self.cohort.failures(), self.cohort.calls());
            let (fewer, same) = (if_overload(&self.before, self.part), self.before.share());
            // As if all running calls failed, and as if none did.
            let at_least = likelier(failures + running, calls + running, fewer, same);
            let at_most = likelier(failures, calls + running, fewer, same);
            if at_least > EVIDENCE || (ended && at_least > EVIDENCE_LEFT) {
                return Some(Verdict::Overload { keep: self.before.useful_places(), is_queue: false });
            }
            let is_chance = at_most < -EVIDENCE && self.closed.is_some();
            if (is_chance || ended) && self.deepen(now) {
                return None;
            }
            if is_chance {
                return Some(self.latency_verdict());
            }
        }
        ended.then(|| self.latency_verdict())
    }

    /// What the latencies say: the cohort's against the ones before.
    fn latency_verdict(&self) -> Verdict {
        let (Some(now), Some(before)) = (self.cohort.latency(), self.before.latency()) else { return Verdict::Chance };
        let (slower, error) = now.slower_than(&before);
        let is_faster = slower < LATENCY_PART * self.part.ln() && slower < -2.0 * error;
        if is_faster { Verdict::Overload { keep: slower.exp() * 1.1, is_queue: true } } else { Verdict::Chance }
    }

    /// Calls of the cohort that have not ended.
    pub(super) fn running(&self) -> f64 {
        (self.begun - self.ignored - self.cohort.calls()).max(0.0)
    }

    /// All calls of both sides.
    pub(super) fn seen(&self) -> (f64, f64) {
        (self.before.failures() + self.cohort.failures(), self.before.calls() + self.cohort.calls())
    }

    /// How long a call took in the cohort.
    pub(super) fn latency(&self) -> Option<Latency> {
        self.cohort.latency()
    }

    /// The results of calls at the limit before.
    pub(super) fn before(&self) -> Tally {
        self.before
    }

    pub(super) fn latency_before(&self) -> Option<Latency> {
        self.before.latency()
    }
}

fn part(before: &Tally) -> f64 {
    let share = if before.fails_slowly() { 0.0 } else { before.share() };
    LOWERED.iter().find(|(from, _)| share >= *from).map_or(1.0, |(_, part)| *part)
}

/// The share of failures to expect of the cohort if the destination is overloaded: half of that before, or what is left
/// if as many succeed as before out of fewer places, whichever is more.
fn if_overload(before: &Tally, part: f64) -> f64 {
    let share = before.share();
    (share / 2.0).max(1.0 - (1.0 - share) / part)
}
