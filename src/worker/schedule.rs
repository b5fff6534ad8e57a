//! Turns cron ticks into wake-ups. The only file that knows `tokio-cron-scheduler`.
//!
//! The scheduler spawns each fire, so that runs would overlap, and its shutdown waits for nothing. So a fire only wakes a
//! [`Notify`]: single flight and draining are the woken one's affair.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Cron schedules that are running.
pub struct Schedule {
    scheduler: JobScheduler,
}

/// Why a schedule can't run.
#[derive(Debug, thiserror::Error)]
#[error("the cron schedule cannot run")]
pub struct ScheduleError(#[from] JobSchedulerError);

impl Schedule {
    /// Starts to wake each of `wakes` at the ticks of its six-field cron expression, in UTC.
    ///
    /// # Errors
    /// An expression that is not valid, or a scheduler that does not start.
    pub async fn start(wakes: impl IntoIterator<Item = (&str, Arc<Notify>)>) -> Result<Self, ScheduleError> {
        let scheduler = JobScheduler::new().await?;
        for (cron, wake) in wakes {
            let job = Job::new(cron, move |_, _| wake.notify_one())?;
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
