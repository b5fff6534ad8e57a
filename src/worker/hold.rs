//! What keeps this process from calling its destination, before and beside the holds that the fleet shares.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use crate::outbox::Hold;

/// How long the fleet's holds, as they were read, permit calls.
const VALID_FOR: Duration = Duration::from_secs(1);
/// After which time they are read again, so that the next result is there before the last one's time is over.
const POLL_AFTER: Duration = Duration::from_millis(500);
/// The pause after they could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// A wait that grows by less is not settled at once.
const NEWS_MIN: Duration = Duration::from_secs(1);

/// A wait that an answer asked this process for, from the moment when the answer arrived; and when an idle worker runs
/// again by itself, because a hold is over then.
#[derive(Debug, Default)]
pub(super) struct LocalHold {
    until: Mutex<Option<Instant>>,
    run_at: Mutex<Option<Instant>>,
    /// As it was logged last.
    is_paused: AtomicBool,
}

impl LocalHold {
    /// What holds the fleet back, as it was read a moment ago. Returns whether an operator's pause has begun or ended since.
    pub(super) fn pause_changed(&self, held: Option<&Hold>) -> Option<bool> {
        let is_paused = matches!(held, Some(Hold::Paused));
        (self.is_paused.swap(is_paused, Ordering::Relaxed) != is_paused).then_some(is_paused)
    }

    /// Lets no call begin for `wait` from now. Returns whether that is news, which the fleet has to know.
    pub(super) fn lengthen(&self, wait: Duration) -> bool {
        let now = Instant::now();
        let Some(until) = now.checked_add(wait).filter(|until| *until > now) else { return false };
        let mut held = lock(&self.until);
        let before = held.filter(|before| *before > now).unwrap_or(now);
        *held = Some(until.max(before));
        *lock(&self.run_at) = *held;
        before == now || until > before + NEWS_MIN
    }

    /// Whether no call may begin.
    pub(super) fn is_active(&self) -> bool {
        lock(&self.until).is_some_and(|until| until > Instant::now())
    }

    /// The fleet's hold is over after `wait`.
    pub(super) fn ends_in(&self, wait: Duration) {
        *lock(&self.run_at) = Instant::now().checked_add(wait);
    }

    /// One of several holds is over after `wait`.
    pub(super) fn ends_in_at_most(&self, wait: Duration) {
        let (now, mut run_at) = (Instant::now(), lock(&self.run_at));
        let at = now.checked_add(wait);
        *run_at = run_at.filter(|earlier| *earlier > now && at.is_none_or(|at| *earlier < at)).or(at);
    }

    /// Returns when a hold has ended; never, if none ends by itself.
    pub(super) async fn ended(&self) {
        let Some(run_at) = *lock(&self.run_at) else { return std::future::pending().await };
        tokio::time::sleep_until(run_at.into()).await;
        *lock(&self.run_at) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// Until when a run may begin calls by what it last read of the fleet's holds. So a pause, an open circuit or a
/// `Retry-After` of another process is known here a second after it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clearance {
    until: Instant,
    poll_at: Instant,
}

impl Clearance {
    /// No call may begin before the holds are read.
    pub(super) fn none() -> Self {
        let now = Instant::now();
        Self { until: now, poll_at: now }
    }

    /// The holds were read at `at`.
    pub(super) fn as_of(at: Instant) -> Self {
        Self { until: at + VALID_FOR, poll_at: at + POLL_AFTER }
    }

    /// The holds could not be read: the earlier result is valid for as long as it was.
    pub(super) fn poll_failed(self) -> Self {
        Self { poll_at: Instant::now() + RETRY_AFTER, ..self }
    }

    pub(super) fn is_valid(&self) -> bool {
        Instant::now() < self.until
    }

    /// When to read the holds again.
    pub(super) fn poll_at(&self) -> Instant {
        self.poll_at
    }

    pub(super) fn is_poll_due(&self) -> bool {
        Instant::now() >= self.poll_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_news_once_and_when_it_grows() {
        let hold = LocalHold::default();
        assert!(!hold.lengthen(Duration::ZERO) && !hold.is_active());
        assert!(hold.lengthen(Duration::from_secs(30)) && hold.is_active());
        assert!(!hold.lengthen(Duration::from_secs(30)), "the same wait, asked of another call");
        assert!(!hold.lengthen(Duration::from_secs(3)));
        assert!(hold.lengthen(Duration::from_mins(2)));
    }

    #[test]
    fn a_pause_is_news_when_it_begins_and_when_it_ends() {
        let hold = LocalHold::default();
        assert_eq!(hold.pause_changed(None), None);
        assert_eq!(hold.pause_changed(Some(&Hold::Paused)), Some(true));
        assert_eq!(hold.pause_changed(Some(&Hold::Paused)), None);
        assert_eq!(hold.pause_changed(None), Some(false));
    }

    #[test]
    fn a_wait_beyond_all_time_does_not_overflow() {
        assert!(!LocalHold::default().lengthen(Duration::MAX));
    }

    #[tokio::test]
    async fn a_hold_ends_by_itself() {
        let hold = LocalHold::default();
        hold.lengthen(Duration::from_millis(20));
        hold.ended().await;
        assert!(!hold.is_active());
    }
}
