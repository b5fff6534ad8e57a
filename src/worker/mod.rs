//! Empties the outbox: claim, deliver, settle, until nothing is due.
//!
//! [`Worker::run_once`] is the whole job; cron ticks, commits and the command line only decide when it runs.

mod backlog;
mod hold;
mod limiter;
mod report;
mod run;
mod schedule;
mod settle;
mod tell;

use std::sync::Arc;

use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{self, Database},
    destination::Destination,
    outbox::Policy,
    settings,
};

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
    backlog: backlog::Backlog,
    hold: hold::Hold,
    signals: Signals,
    cut_off: CancellationToken,
    registered: OnceCell<()>,
}

/// What a worker is told, and what it tells.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Something may be due.
    pub wake: Arc<Notify>,
    /// Told to everybody who waits after something was settled.
    pub settled: Arc<Notify>,
    /// Claim nothing more and finish what runs.
    pub drain: CancellationToken,
}

impl<D: Destination> Worker<D> {
    /// A worker called `name`, which operators see on its leases.
    #[must_use]
    pub fn new(
        db: Database,
        destination: Arc<D>,
        policy: Policy,
        settings: settings::Worker,
        name: String,
        signals: Signals,
    ) -> Self {
        let limiter = limiter::Limiter::new(destination.name(), settings.concurrency);
        let (cut_off, registered) = (CancellationToken::new(), OnceCell::new());
        let (backlog, hold) = (backlog::Backlog::default(), hold::Hold::default());
        Self { db, destination, policy, settings, name, limiter, backlog, hold, signals, cut_off, registered }
    }

    /// Where its events go.
    #[must_use]
    pub fn destination(&self) -> &'static str {
        self.destination.name()
    }

    /// Ends deliveries that are in the air; what they come to is unknown, and settled as that.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Runs each time it is woken, and when a hold is over that it met, one run at a time, until it is drained. An error ends its run only: the database may
    /// be away, the next tick tries again.
    pub async fn work(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.signals.drain.cancelled() => return,
                () = self.signals.wake.notified() => {}
                () = self.hold.alarm() => {}
            }
            match self.run_once().await {
                Ok(report) if report.is_idle() => {}
                Ok(report) => tracing::debug!(destination = self.destination.name(), %report, "run ended"),
                Err(error) => {
                    let advice = database::advice(&error);
                    let error = tell::chain(&error);
                    tracing::error!(destination = self.destination.name(), error, advice, "run failed");
                }
            }
        }
    }
}
