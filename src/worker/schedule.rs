//! Turns cron ticks into wake-ups. The only file that knows `tokio-cron-scheduler`.
//!
//! The scheduler spawns each fire, so that runs would overlap, and its shutdown waits for nothing. So a fire only wakes a
//! [`Notify`]: single flight and draining are the woken one's affair.
//!
//! The scheduler goes by the wall clock alone: one that is set back by ten minutes gets no tick for ten minutes. So beside
//! it a [`Pacemaker`] goes by the monotonic clock, which nobody sets: when a tick fails to come for as long as the schedule
//! itself would have waited, it wakes instead. A wake too many is harmless, one too few is an event that nobody delivers.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::Utc;
use croner::{Cron, errors::CronError};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::{cron, supervision::Health};

/// The scheduler looks at the clock twice a second, so that its ticks come later by that.
const LATE_MAX: Duration = Duration::from_secs(1);
/// However rare the ticks are: a wake an hour costs nothing, and ends what a clock that was set has begun.
const GAP_MAX: Duration = Duration::from_hours(1);
/// A pacemaker that is late by so much has stopped.
const STOPPED_AFTER: Duration = Duration::from_secs(30);

/// Cron schedules that are running.
pub struct Schedule {
    scheduler: JobScheduler,
}

/// Wakes by a schedule when the scheduler does not.
pub struct Pacemaker {
    /// What health calls it.
    name: &'static str,
    expression: String,
    cron: Cron,
    /// The scheduler's ticks.
    tick: Arc<Notify>,
    wake: Arc<Notify>,
    health: Health,
}

/// Why a schedule can't run.
#[derive(Debug, thiserror::Error)]
#[error("the cron schedule cannot run")]
pub struct ScheduleError(#[from] JobSchedulerError);

impl Schedule {
    /// Starts to tick for each of `pacemakers`, in UTC.
    ///
    /// # Errors
    /// An expression that is not valid, or a scheduler that does not start.
    pub async fn start(pacemakers: impl IntoIterator<Item = &Pacemaker>) -> Result<Self, ScheduleError> {
        let scheduler = JobScheduler::new().await?;
        for pacemaker in pacemakers {
            let tick = Arc::clone(&pacemaker.tick);
            let job = Job::new(pacemaker.expression.as_str(), move |_, _| tick.notify_one())?;
            scheduler.add(job).await?;
        }
        scheduler.start().await?;
        Ok(Self { scheduler })
    }

    /// No tick comes after this.
    ///
    /// # Errors
    /// The scheduler's own.
    pub async fn stop(mut self) -> Result<(), ScheduleError> {
        Ok(self.scheduler.shutdown().await?)
    }
}

impl Pacemaker {
    /// Wakes `wake` by the six-field cron `expression`, in UTC; `health` knows it as `name`.
    ///
    /// # Errors
    /// An expression that is not valid.
    pub fn new(name: &'static str, expression: &str, wake: Arc<Notify>, health: Health) -> Result<Self, CronError> {
        let cron = cron::parse(expression)?;
        Ok(Self { name, expression: expression.into(), cron, tick: Arc::default(), wake, health })
    }

    /// Passes the ticks on, and makes up for those that fail to come. Never ends.
    pub async fn run(&self) {
        let mut is_late = false;
        loop {
            let by = Instant::now() + self.gap() + LATE_MAX;
            self.health.expect(self.name, by.into_std() + STOPPED_AFTER);
            let ticked = in_time(by, self.tick.notified()).await;
            if !ticked && !is_late {
                tracing::warn!(schedule = self.name, "the wall clock brought no tick in time, the monotonic one did");
            }
            is_late = !ticked;
            self.wake.notify_one();
        }
    }

    /// How long the schedule waits from now to its next tick.
    fn gap(&self) -> Duration {
        let now = Utc::now();
        let next = self.cron.find_next_occurrence(&now, false).ok();
        next.and_then(|next| (next - now).to_std().ok()).unwrap_or(GAP_MAX).min(GAP_MAX)
    }
}

async fn in_time(by: Instant, tick: impl Future<Output = ()>) -> bool {
    timeout_at(by, tick).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_single_tick_it_still_wakes_at_the_pace_of_its_schedule() {
        let wake = Arc::<Notify>::default();
        let health = Health::default();
        let pacemaker =
            Pacemaker::new("worker", "* * * * * *", Arc::clone(&wake), health.clone()).expect("a cron expression");
        let paced = tokio::spawn(async move { pacemaker.run().await });
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(20), wake.notified()).await.expect("a wake");
        }
        assert!(health.faults().is_empty());
        paced.abort();
    }

    #[test]
    fn rare_ticks_are_waited_for_an_hour_at_most() {
        let pacemaker = Pacemaker::new("job", "0 0 0 1 1 *", Arc::default(), Health::default()).expect("an expression");
        assert!(pacemaker.gap() <= GAP_MAX);
    }
}
