//! What keeps this process from calling its destination, before and beside what the fleet shares.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a look at what the fleet shares permits calls.
const CLEAR_FOR: Duration = Duration::from_secs(1);
/// After which time the next look begins, so that it ends before the last one's time is over.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// The pause after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A hold that grows by less is not written down at once.
const NEWS_MIN: Duration = Duration::from_secs(1);

/// A wait that this process was told by an answer, from the moment when the answer arrived; and when a worker that is idle
/// looks again by itself, because a hold is over then.
#[derive(Debug, Default)]
pub(super) struct Hold {
    until: Mutex<Option<Instant>>,
    alarm: Mutex<Option<Instant>>,
}

impl Hold {
    /// Lets no call begin for `wait` from now. Answers whether that is news: the fleet has to know it.
    pub(super) fn lengthen(&self, wait: Duration) -> bool {
        let now = Instant::now();
        let Some(until) = now.checked_add(wait).filter(|until| *until > now) else { return false };
        let mut held = lock(&self.until);
        let before = held.filter(|before| *before > now).unwrap_or(now);
        *held = Some(until.max(before));
        *lock(&self.alarm) = *held;
        before == now || until > before + NEWS_MIN
    }

    /// Whether no call may begin.
    pub(super) fn holds(&self) -> bool {
        lock(&self.until).is_some_and(|until| until > Instant::now())
    }

    /// The fleet's hold is over after `wait`, if nothing happens before.
    pub(super) fn wake_in(&self, wait: Duration) {
        *lock(&self.alarm) = Instant::now().checked_add(wait);
    }

    /// Returns when it is time to look again; never, if there is no such time.
    pub(super) async fn alarm(&self) {
        let Some(alarm) = *lock(&self.alarm) else { return std::future::pending().await };
        tokio::time::sleep_until(alarm.into()).await;
        *lock(&self.alarm) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until when a run may begin calls by what it last saw of the fleet's holds: a pause, a circuit or a wait that another
/// process was told is known here a second after it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clearance {
    until: Instant,
    look_at: Instant,
}

impl Clearance {
    /// None: a look comes first.
    pub(super) fn none() -> Self {
        let now = Instant::now();
        Self { until: now, look_at: now }
    }

    /// The fleet's holds were seen at `at`.
    pub(super) fn seen(at: Instant) -> Self {
        Self { until: at + CLEAR_FOR, look_at: at + LOOK_AFTER }
    }

    /// A look failed: what was seen before holds for as long as it did.
    pub(super) fn not_seen(self) -> Self {
        Self { look_at: Instant::now() + LOOK_AGAIN, ..self }
    }

    pub(super) fn holds(&self) -> bool {
        Instant::now() < self.until
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_news_once_and_when_it_grows() {
        let hold = Hold::default();
        assert!(!hold.lengthen(Duration::ZERO) && !hold.holds());
        assert!(hold.lengthen(Duration::from_secs(30)) && hold.holds());
        assert!(!hold.lengthen(Duration::from_secs(30)), "the same, told to another call");
        assert!(!hold.lengthen(Duration::from_secs(3)));
        assert!(hold.lengthen(Duration::from_mins(2)));
    }

    #[test]
    fn a_wait_beyond_all_time_does_not_overflow() {
        assert!(!Hold::default().lengthen(Duration::MAX));
    }

    #[tokio::test]
    async fn a_hold_ends_by_itself() {
        let hold = Hold::default();
        hold.lengthen(Duration::from_millis(20));
        hold.alarm().await;
        assert!(!hold.holds());
    }
}
