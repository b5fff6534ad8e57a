//! Cron ticks. The only file that knows `tokio-cron-scheduler`.
//!
//! The scheduler spawns each fire, so that runs would overlap, and its shutdown waits for nothing. So a fire only wakes the
//! task that waits for the tick: that task runs one job at a time, and drains by itself.
//!
//! The scheduler goes by the wall clock alone: one that is set back by ten minutes gets no tick for ten minutes. So a
//! [`Pacemaker`] also goes by the monotonic clock, which nobody sets: when a tick fails to come for as long as the schedule
//! itself would have waited, it ticks instead. A tick too many is harmless; with one too few an event is not delivered.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use croner::{Cron, errors::CronError};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::{cron, supervision::Health};

/// The scheduler reads the clock twice a second, so that its ticks come later by that.
const LATE_MAX: Duration = Duration::from_secs(1);
/// However rare the ticks are: a tick an hour costs nothing, and ends what a clock that was set has begun.
const GAP_MAX: Duration = Duration::from_hours(1);
/// A pacemaker that is late by so much has stopped.
const STOPPED_AFTER: Duration = Duration::from_secs(30);
/// So long at most takes the work of one tick.
const WORK_MAX: Duration = Duration::from_mins(16);

/// Cron schedules that are running.
pub struct Schedule {
    scheduler: JobScheduler,
}

/// Ticks by a schedule, also when the scheduler does not.
pub struct Pacemaker {
    /// What health calls it.
    name: &'static str,
    expression: String,
    cron: Cron,
    /// The scheduler's ticks.
    tick: Arc<Notify>,
    health: Health,
}

/// The ticks of a pacemaker. Those that come while nobody waits count as one.
pub struct Ticks<'a> {
    pacemaker: &'a Pacemaker,
    is_late: bool,
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
    pub async fn start(pacemakers: impl IntoIterator<Item = &Arc<Pacemaker>>) -> Result<Self, ScheduleError> {
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
    /// Any error of the scheduler.
    pub async fn stop(mut self) -> Result<(), ScheduleError> {
        Ok(self.scheduler.shutdown().await?)
    }
}

impl Pacemaker {
    /// Ticks by the six-field cron `expression`, in UTC; `health` knows it as `name`.
    ///
    /// # Errors
    /// An expression that is not valid.
    pub fn new(name: &'static str, expression: &str, health: Health) -> Result<Self, CronError> {
        let cron = cron::parse(expression)?;
        Ok(Self { name, expression: expression.into(), cron, tick: Arc::default(), health })
    }

    /// Its ticks, for the one task that works by them.
    #[must_use]
    pub fn ticks(&self) -> Ticks<'_> {
        Ticks { pacemaker: self, is_late: false }
    }

    /// How long the schedule waits from now to its next tick.
    fn gap(&self) -> Duration {
        let now = Utc::now();
        let next = self.cron.find_next_occurrence(&now, false).ok();
        next.and_then(|next| (next - now).to_std().ok()).unwrap_or(GAP_MAX).min(GAP_MAX)
    }
}

impl Ticks<'_> {
    /// Returns at the next tick. Health expects the task to wait again soon after the tick's work.
    pub async fn next(&mut self) {
        let Pacemaker { name, tick, health, .. } = self.pacemaker;
        let by = Instant::now() + self.pacemaker.gap() + LATE_MAX;
        health.expect(name, by.into_std() + STOPPED_AFTER);
        let ticked = timeout_at(by, tick.notified()).await.is_ok();
        if !ticked && !self.is_late {
            tracing::warn!(schedule = name, "the wall clock brought no tick in time, the monotonic clock did");
        }
        self.is_late = !ticked;
        health.expect(name, std::time::Instant::now() + WORK_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_single_tick_it_still_ticks_at_the_pace_of_its_schedule() {
        let health = Health::default();
        let pacemaker = Pacemaker::new("worker", "* * * * * *", health.clone()).expect("a cron expression");
        let mut ticks = pacemaker.ticks();
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(20), ticks.next()).await.expect("a tick");
        }
        assert!(health.why_unhealthy().is_empty());
    }

    #[test]
    fn rare_ticks_are_waited_for_an_hour_at_most() {
        let pacemaker = Pacemaker::new("job", "0 0 0 1 1 *", Health::default()).expect("an expression");
        assert!(pacemaker.gap() <= GAP_MAX);
    }
}
