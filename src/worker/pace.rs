//! How much a worker asks of the database at once, and how soon again.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rand::RngExt;
use sea_orm::DbErr;

use super::{Worker, logging};
use crate::{
    database::{self, within},
    destination::Destination,
};

/// The first pause after a failure; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// The part of a lease for which the database is given time to answer: a connection may have died in silence, and there
/// must be time left to settle on another.
const ANSWER_PART: u32 = 3;
/// That time is no shorter, however short the lease.
const ANSWER_MIN: Duration = Duration::from_secs(1);

impl<D: Destination> Worker<D> {
    /// The result of `work`, or an error when the database takes too long.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        within(self.answer_limit(), work).await
    }

    /// The same for an operation that is given more time, up to `most`, when it was too slow before.
    pub(super) async fn in_time_of<T>(
        &self,
        size: &BatchSize,
        most: Duration,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        within(size.limit(self.answer_limit(), most), work).await
    }

    fn answer_limit(&self) -> Duration {
        (self.settings.lease / ANSWER_PART).max(ANSWER_MIN)
    }
}

/// How many rows an operation takes, and for how long. One that was too slow is tried again with half as many rows and more
/// time, so that there is progress whether the database is slow by the row or by the round trip. One that was in time lets
/// the number grow again.
#[derive(Debug)]
pub(super) struct BatchSize {
    now: AtomicUsize,
    max: usize,
    /// Operations that were too slow since one of full size was in time.
    too_slow: AtomicU32,
}

impl BatchSize {
    pub(super) fn new(max: usize) -> Self {
        Self { now: AtomicUsize::new(max), max, too_slow: AtomicU32::new(0) }
    }

    pub(super) fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// How long an operation may take: `usual`, twice as long after each that was too slow, at most `most`.
    pub(super) fn limit(&self, usual: Duration, most: Duration) -> Duration {
        let too_slow = self.too_slow.load(Ordering::Relaxed);
        usual.saturating_mul(2_u32.saturating_pow(too_slow)).min(most).max(usual)
    }

    /// An operation with `rows` did not end in its time.
    pub(super) fn too_slow(&self, rows: usize) {
        self.now.store((rows.min(self.get()) / 2).max(1), Ordering::Relaxed);
        self.too_slow.fetch_add(1, Ordering::Relaxed);
    }

    /// An operation with `rows` ended in its time. Fewer than were allowed prove nothing about more.
    pub(super) fn in_time(&self, rows: usize) {
        if rows >= self.max {
            self.too_slow.store(0, Ordering::Relaxed);
        }
        if rows >= self.get() {
            self.now.store((rows * 2).min(self.max), Ordering::Relaxed);
        }
    }
}

/// When an operation of a run may be tried, and with how many rows.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    name: &'static str,
    size: &'a BatchSize,
    not_before: Instant,
    pauses: Pauses,
    /// The longest pause.
    pause_max: Duration,
    /// The last try failed with this.
    failed: Option<DbErr>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(name: &'static str, size: &'a BatchSize, not_before: Instant, pause_max: Duration) -> Self {
        Self { name, size, not_before, pauses: Pauses::default(), pause_max, failed: None }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.not_before
    }

    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    pub(super) fn put_off(&mut self, until: Instant) {
        self.not_before = until;
    }

    /// How many rows to ask for, at most.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    /// The result of a try with `rows`, if the database did not fail.
    pub(super) fn ended<T>(&mut self, rows: usize, result: Result<T, DbErr>) -> Option<T> {
        match result {
            Ok(done) => {
                self.size.in_time(rows);
                self.succeeded();
                Some(done)
            }
            Err(error) => {
                if database::is_too_slow(&error) {
                    self.size.too_slow(rows);
                }
                tracing::warn!(error = logging::chain(&error), rows, "could not {}, trying again", self.name);
                self.pause();
                self.failed = Some(error);
                None
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.pauses.end();
        self.failed = None;
    }

    /// Puts the next try off, for longer than the last time.
    pub(super) fn pause(&mut self) {
        self.not_before = Instant::now() + self.pauses.next(self.pause_max);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn into_failure(self) -> Option<DbErr> {
        self.failed
    }
}

/// Growing random pauses between tries that fail.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    failures: u32,
}

impl Pauses {
    /// How long to wait after a failure, at most `most`.
    pub(super) fn next(&mut self, most: Duration) -> Duration {
        let pause = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(PAUSE_MAX).min(most);
        self.failures = self.failures.saturating_add(1);
        rand::rng().random_range(pause / 2..=pause)
    }

    /// A try has succeeded.
    pub(super) fn end(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_slow_is_halved_down_to_one_and_grows_again() {
        let size = BatchSize::new(1_000);
        size.too_slow(300);
        assert_eq!(size.get(), 150);
        size.in_time(20);
        assert_eq!(size.get(), 150, "a small one was in time");
        size.in_time(150);
        assert_eq!(size.get(), 300);
        for _ in 0..20 {
            size.too_slow(1_000);
        }
        assert_eq!(size.get(), 1);
        for _ in 0..20 {
            size.in_time(size.get());
        }
        assert_eq!(size.get(), 1_000);
    }

    #[test]
    fn what_is_too_slow_is_given_more_time_until_all_is_well_again() {
        let size = BatchSize::new(100);
        let limit = || size.limit(Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(limit(), Duration::from_secs(10));
        size.too_slow(100);
        assert_eq!(limit(), Duration::from_secs(20));
        size.too_slow(50);
        assert_eq!(limit(), Duration::from_secs(30));
        size.in_time(25);
        assert_eq!(limit(), Duration::from_secs(30));
        size.in_time(100);
        assert_eq!(limit(), Duration::from_secs(10));
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let mut pauses = Pauses::default();
        let most = Duration::from_secs(2);
        let all: Vec<_> = (0..40).map(|_| pauses.next(most)).collect();
        assert!(all[0] <= PAUSE_FIRST && all[5] > PAUSE_FIRST);
        assert!(all.iter().all(|pause| (PAUSE_FIRST / 2..=most).contains(pause)), "{all:?}");
        pauses.end();
        assert!(pauses.next(most) <= PAUSE_FIRST);
    }
}
