//! Restarting tasks that panic, and the health of a process.
//!
//! A panic costs the task its current work, and nothing else: it is started again after a pause. A task that panics again and
//! again ends the process, so that its supervisor restarts it. Until then [`Health`] reports what is missing.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics;

/// The pause before a task is started again; it doubles with each panic that follows soon.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A task that has lived for so long has recovered.
const RECOVERED_AFTER: Duration = Duration::from_mins(1);
/// Panics in a row after which the process gives up.
const PANICS_MAX: u32 = 10;

/// The state of a process's tasks, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Health {
    known: Arc<Mutex<Known>>,
    hopeless: CancellationToken,
    leaving: CancellationToken,
}

#[derive(Debug, Default)]
struct Known {
    /// Why each of these does not run.
    down: BTreeMap<&'static str, String>,
    /// By when each of these reports, if it lives.
    expected: BTreeMap<&'static str, Instant>,
}

/// The tasks of a process.
pub struct Tasks {
    set: JoinSet<()>,
    health: Health,
    drain: CancellationToken,
    pause_min: Duration,
}

impl Health {
    /// Why the process is unhealthy, a sentence each; empty if it is healthy.
    #[must_use]
    pub fn why_unhealthy(&self) -> Vec<String> {
        let now = Instant::now();
        let known = self.known.lock();
        let down = known.down.iter().map(|(task, why)| format!("the task {task} is down: {why}"));
        let silent = known.expected.iter().filter(|(_, by)| **by < now);
        down.chain(silent.map(|(task, _)| format!("the schedule {task} does not tick"))).collect()
    }

    /// `name` will report by this time, unless it has stopped.
    pub fn expect(&self, name: &'static str, by: Instant) {
        self.known.lock().expected.insert(name, by);
    }

    /// Returns when a task cannot be kept alive: then the process must end.
    pub async fn hopeless(&self) {
        self.hopeless.cancelled().await;
    }

    /// Cancelled when the process is about to stop: then no new callers should be sent here.
    #[must_use]
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// Whether the process is about to stop.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }
}

impl Tasks {
    /// No tasks yet. Once `drain` is cancelled none is started again.
    #[must_use]
    pub fn new(health: Health, drain: CancellationToken) -> Self {
        Self { set: JoinSet::new(), health, drain, pause_min: PAUSE_MIN }
    }

    /// Runs what `start` makes, again after each panic, until it returns.
    pub fn spawn<F, Fut>(&mut self, name: &'static str, start: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (health, drain, pause_min) = (self.health.clone(), self.drain.clone(), self.pause_min);
        self.set.spawn(async move {
            let mut panics = 0;
            loop {
                let begun = Instant::now();
                let Err(panic) = caught(async { start().await }).await else { return };
                panics = if begun.elapsed() >= RECOVERED_AFTER { 1 } else { panics + 1 };
                metrics::task_panic(name);
                tracing::error!(task = name, panic, panics, "a task panicked and is started again");
                health.known.lock().down.insert(name, panic);
                if panics >= PANICS_MAX {
                    tracing::error!(task = name, "the task cannot be kept alive: the process ends");
                    health.hopeless.cancel();
                    return;
                }
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = sleep((pause_min * 2_u32.pow(panics - 1)).min(PAUSE_MAX)) => {}
                }
                health.known.lock().down.remove(name);
            }
        });
    }

    /// Returns when all have ended.
    pub async fn ended(&mut self) {
        while let Some(ended) = self.set.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task did not end by itself");
            }
        }
    }
}

/// The result of `work`, also when it panics.
///
/// # Errors
/// The panic's message.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // A panic's half-done work is dropped with the future. Only locks outlive it, whose data is consistent between any two
    // statements.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn tasks() -> (Health, CancellationToken, Tasks) {
        let (health, drain) = (Health::default(), CancellationToken::new());
        (health.clone(), drain.clone(), Tasks { pause_min: Duration::from_millis(1), ..Tasks::new(health, drain) })
    }

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_health_knows_meanwhile() {
        let (health, _, mut tasks) = tasks();
        let starts = Arc::new(AtomicU32::new(0));
        tasks.spawn("weak", {
            let (starts, health) = (Arc::clone(&starts), health.clone());
            move || {
                let (start, health) = (starts.fetch_add(1, Ordering::SeqCst), health.clone());
                async move {
                    assert!(start >= 2, "not yet");
                    assert_eq!(health.why_unhealthy(), Vec::<String>::new(), "it lives again");
                }
            }
        });
        tasks.ended().await;
        assert_eq!((starts.load(Ordering::SeqCst), health.why_unhealthy()), (3, vec![]));
    }

    #[tokio::test]
    async fn a_task_that_cannot_live_ends_the_process() {
        let (health, _, mut tasks) = tasks();
        tasks.spawn("hopeless", || async { panic!("again") });
        health.hopeless().await;
        assert_eq!(health.why_unhealthy(), ["the task hopeless is down: again"]);
    }

    #[tokio::test]
    async fn no_task_is_started_again_after_the_drain() {
        let (_, drain, mut tasks) = tasks();
        tasks.spawn("late", || async { panic!("at the end") });
        drain.cancel();
        tasks.ended().await;
    }

    #[test]
    fn a_schedule_that_does_not_tick_is_a_fault() {
        let health = Health::default();
        health.expect("worker", Instant::now() + Duration::from_mins(1));
        assert!(health.why_unhealthy().is_empty());
        health.expect("worker", Instant::now().checked_sub(Duration::from_millis(1)).expect("an earlier time"));
        assert_eq!(health.why_unhealthy(), ["the schedule worker does not tick"]);
    }
}
