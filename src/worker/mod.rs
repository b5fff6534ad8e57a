//! Empties the outbox: claim, deliver, settle, until nothing is due.
//!
//! [`Worker::run_once`] is the whole job; cron ticks, commits and the command line only decide when it runs.

mod limiter;
mod report;
mod run;
mod schedule;
mod tell;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{database::Database, destination::Destination, outbox::Policy, settings};

pub use report::Report;
pub use schedule::{Schedule, ScheduleError};

/// A worker for one destination. Any number may work on the same database.
pub struct Worker<D: Destination> {
    db: Database,
    destination: Arc<D>,
    policy: Policy,
    settings: settings::Worker,
    name: String,
    limiter: limiter::Limiter,
    wake: Arc<Notify>,
    drain: CancellationToken,
}

impl<D: Destination> Worker<D> {
    /// A worker called `name`, which operators see on its leases. `wake` tells it that something may be due; `drain`
    /// makes it claim nothing more and finish what runs.
    #[must_use]
    pub fn new(
        db: Database,
        destination: Arc<D>,
        policy: Policy,
        settings: settings::Worker,
        name: String,
        wake: Arc<Notify>,
        drain: CancellationToken,
    ) -> Self {
        let limiter = limiter::Limiter::new(settings.concurrency);
        Self { db, destination, policy, settings, name, limiter, wake, drain }
    }

    /// Runs each time it is woken, one run at a time, until it is drained. An error ends its run only: the database may
    /// be away, the next tick tries again.
    pub async fn work(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return,
                () = self.wake.notified() => {}
            }
            match self.run_once().await {
                Ok(report) if report.is_idle() => {}
                Ok(report) => tracing::debug!(destination = self.destination.name(), %report, "run ended"),
                Err(error) => {
                    tracing::error!(destination = self.destination.name(), error = %tell::chain(&error), "run failed");
                }
            }
        }
    }
}
