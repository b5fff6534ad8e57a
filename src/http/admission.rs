//! Admission: no more submissions are taken than the database stores within a moment.
//!
//! The rate at which submissions are stored is measured while others wait for their turn. What is at work and what may wait are
//! that rate's share of a fixed time, so they follow the database: when it is slow, few wait, and nobody for long. The surplus is
//! refused at once, before its body is read. Nothing that was refused here has been begun.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::oneshot, time::timeout};

use super::problem::{Kind, Problem};
use crate::telemetry::{Sampled, metrics};

/// As many quotes are at work as are stored within this time, or within that of a lone call and a half times more, if that is
/// longer: calls at work share transactions (`docs/adr/0020`), and while one is under way the next ones gather.
const WORK_SECONDS: f64 = 0.25;
/// So many times more are at work for a part of each period, as a trial. If all that are at work share one transaction, these begin
/// another beside it. If the database then stores more, the rate grows, and they stay.
const TRIAL_FACTOR: f64 = 1.6;
const TRIAL_SECONDS: f64 = 0.5;
const TRIAL_PERIOD_SECONDS: f64 = 2.0;
const LONE_FACTOR: f64 = 2.5;
/// How much one lone call counts that was slower than the ones before.
const LONE_WEIGHT: f64 = 0.2;
/// As many quotes wait for their turn as are stored within this time.
const QUEUE_SECONDS: f64 = 0.12;
/// The longest wait, also when the database has suddenly become slower.
const WAIT_MAX: Duration = Duration::from_millis(350);
/// The fewest at work, and the fewest that may wait.
const QUOTES_MIN: usize = 4;
/// What is at work and what may wait before a rate is known. The first answers tell it.
const WORK_AT_FIRST: usize = 32;
const QUEUE_AT_FIRST: usize = 1_000;
/// The rate is an average over this time.
const AVERAGE_SECONDS: f64 = 1.0;
/// A rate that was measured for less time is not used yet.
const MEASURED_SECONDS_MIN: f64 = 0.03;
/// A rate is forgotten when none waited for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

static REFUSALS: Sampled = Sampled::new();

/// The submissions that are at work or wait for their turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    state: Arc<Mutex<State>>,
    is_unlimited: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Quotes at work.
    at_work: usize,
    waiting: VecDeque<Waiting>,
    /// Their quotes.
    quotes_waiting: usize,
    rate: Rate,
    lone: Lone,
}

#[derive(Debug)]
struct Waiting {
    quotes: usize,
    turn: oneshot::Sender<Place>,
}

/// How many quotes are stored a second while others wait: two averages over the same time.
#[derive(Debug, Default)]
struct Rate {
    stored: f64,
    seconds: f64,
    /// When the first waited.
    begun: Option<Instant>,
    /// Until when it is measured; none while nobody waits.
    until: Option<Instant>,
    forgotten_at: Option<Instant>,
}

/// How long a call takes that is nearly alone: what more calls at work cannot shorten.
#[derive(Debug, Default)]
struct Lone {
    calls: u64,
    seconds: f64,
}

/// The right to submit. It ends when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Option<Admission>,
    quotes: usize,
    is_lone: bool,
    begun: Instant,
}

impl Admission {
    /// For submissions whose time is not the database's.
    pub fn unlimited() -> Self {
        Self { is_unlimited: true, ..Self::default() }
    }

    /// Refuses a call that would be refused anyway, before its body is read.
    pub fn check(&self) -> Result<(), Problem> {
        let is_full = self.lock().is_full(Instant::now());
        if is_full { Err(refused("queue_full")) } else { Ok(()) }
    }

    /// Waits for the turn of a call with this many quotes, or refuses it.
    pub async fn enter(&self, quotes: usize) -> Result<Place, Problem> {
        let turn = {
            let mut state = self.lock();
            if self.is_unlimited || (state.waiting.is_empty() && state.at_work < state.work_max()) {
                return Ok(self.place(&mut state, quotes));
            }
            if state.is_full(Instant::now()) {
                drop(state);
                return Err(refused("queue_full"));
            }
            let (turn, granted) = oneshot::channel();
            state.waiting.push_back(Waiting { quotes, turn });
            state.quotes_waiting += quotes;
            state.rate.begin(Instant::now());
            self.grant(&mut state);
            granted
        };
        match timeout(WAIT_MAX, turn).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(refused("waited")),
        }
    }

    /// Gives places to those whose turn it is.
    fn grant(&self, state: &mut State) {
        while state.at_work < state.work_max() {
            let Some(Waiting { quotes, turn }) = state.waiting.pop_front() else { break };
            state.quotes_waiting -= quotes;
            if let Err(mut place) = turn.send(self.place(state, quotes)) {
                // Its client has gone. The lock is ours, so the place is not given back by being dropped.
                place.admission = None;
                state.at_work -= quotes;
            }
        }
        if state.waiting.is_empty() {
            state.rate.end(Instant::now());
        }
    }

    fn place(&self, state: &mut State, quotes: usize) -> Place {
        state.at_work += quotes;
        let is_lone = state.at_work <= QUOTES_MIN;
        Place { admission: Some(self.clone()), quotes, is_lone, begun: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn work_max(&self) -> usize {
        let factor = if self.rate.is_on_trial(Instant::now()) { TRIAL_FACTOR } else { 1.0 };
        let seconds = factor * WORK_SECONDS.max(LONE_FACTOR * self.lone.seconds);
        self.rate.within(seconds).map_or(WORK_AT_FIRST, |quotes| quotes.max(QUOTES_MIN))
    }

    /// Whether the next call would wait for too long.
    fn is_full(&mut self, now: Instant) -> bool {
        if self.waiting.is_empty() {
            self.rate.forget_by(now);
            return false;
        }
        self.rate.measure(now, 0);
        let max = self.rate.within(QUEUE_SECONDS).map_or(QUEUE_AT_FIRST, |quotes| quotes.max(QUOTES_MIN));
        self.quotes_waiting >= max
    }
}

impl Rate {
    /// Somebody waits.
    fn begin(&mut self, now: Instant) {
        self.forget_by(now);
        self.begun.get_or_insert(now);
        self.until.get_or_insert(now);
    }

    /// Nobody waits any more.
    fn end(&mut self, now: Instant) {
        if self.until.take().is_some() {
            self.forgotten_at = Some(now + FORGOTTEN_AFTER);
        }
    }

    fn forget_by(&mut self, now: Instant) {
        if self.until.is_none() && self.forgotten_at.is_some_and(|at| at <= now) {
            *self = Self::default();
        }
    }

    fn measure(&mut self, now: Instant, stored: usize) {
        let Some(until) = self.until else { return };
        let seconds = now.saturating_duration_since(until).as_secs_f64();
        let kept = (-seconds / AVERAGE_SECONDS).exp();
        self.stored = self.stored * kept + as_f64(stored);
        self.seconds = self.seconds * kept + seconds;
        self.until = Some(now.max(until));
    }

    fn is_on_trial(&self, now: Instant) -> bool {
        let waited = self.begun.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        waited.as_secs_f64() % TRIAL_PERIOD_SECONDS >= TRIAL_PERIOD_SECONDS - TRIAL_SECONDS
    }

    /// How many quotes are stored within this time, if that is known.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count that is small and not negative"
    )]
    fn within(&self, seconds: f64) -> Option<usize> {
        // The first answers are late by what was under way before them.
        let is_known = self.seconds >= MEASURED_SECONDS_MIN && (self.stored > 0.0 || self.seconds >= WORK_SECONDS);
        is_known.then(|| (self.stored / self.seconds * seconds) as usize)
    }
}

impl Lone {
    fn note(&mut self, seconds: f64) {
        self.calls += 1;
        match self.calls {
            // It opens the first session.
            1 => {}
            2 => self.seconds = seconds,
            _ if seconds < self.seconds => self.seconds = seconds,
            _ => self.seconds += (seconds - self.seconds) * LONE_WEIGHT,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(admission) = self.admission.take() else { return };
        let mut state = admission.lock();
        state.at_work -= self.quotes;
        state.rate.measure(Instant::now(), self.quotes);
        if self.is_lone {
            state.lone.note(self.begun.elapsed().as_secs_f64());
        }
        admission.grant(&mut state);
    }
}

fn refused(why: &'static str) -> Problem {
    metrics::submission_refused(why);
    if let Some(refused) = REFUSALS.count() {
        tracing::warn!(why, refused, "refused submissions: more came than the database stores");
    }
    Problem::new(
        Kind::Overloaded,
        "more quotes are being submitted than the database stores; nothing was stored, retry",
    )
    .retry_after_seconds(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Calls that come at once, of which one is stored each `each`; how many of them were.
    async fn stored(admission: &Admission, calls: usize, each: Duration) -> usize {
        let database = Semaphore::new(1);
        let call = || async {
            admission.check().ok()?;
            let _place = admission.enter(1).await.ok()?;
            let _turn = database.acquire().await.ok()?;
            tokio::time::sleep(each).await;
            Some(())
        };
        join_all((0..calls).map(|_| call())).await.into_iter().flatten().count()
    }

    #[tokio::test]
    async fn a_burst_is_taken_before_a_rate_is_known() {
        assert_eq!(stored(&Admission::default(), 150, Duration::ZERO).await, 150);
    }

    #[tokio::test]
    async fn of_a_burst_on_a_slow_database_as_many_are_taken_as_are_stored_in_a_moment() {
        let admission = Admission::default();
        let begun = Instant::now();
        let taken = stored(&admission, 1_000, Duration::from_millis(20)).await;
        assert!((WORK_AT_FIRST..200).contains(&taken), "{taken}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        // The rate is known, and few wait.
        let again = stored(&admission, 1_000, Duration::from_millis(20)).await;
        assert!((QUOTES_MIN..WORK_AT_FIRST * 2).contains(&again), "{again}");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_gives_its_place_to_the_next() {
        let admission = Admission::default();
        let places = join_all((0..WORK_AT_FIRST).map(|_| admission.enter(1))).await;
        let (gone, next) = (tokio::spawn(enter(admission.clone())), tokio::spawn(enter(admission.clone())));
        while admission.lock().waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        drop(places);
        assert!(next.await.expect("no panic").is_ok());
        let state = admission.lock();
        assert_eq!((state.at_work, state.quotes_waiting, state.waiting.len()), (0, 0, 0));
    }

    async fn enter(admission: Admission) -> Result<(), Problem> {
        admission.enter(1).await.map(drop)
    }

    #[tokio::test]
    async fn a_batch_larger_than_what_is_at_work_is_taken_in_its_turn() {
        let admission = Admission::default();
        let first = admission.enter(1_000).await.expect("a place");
        let second = tokio::spawn(enter(admission.clone()));
        while admission.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(second.await.expect("no panic").is_ok());
    }
}
