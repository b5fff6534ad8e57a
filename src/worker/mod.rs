//! Empties the outbox: claim, deliver, settle, until nothing is due.
//!
//! [`Worker::run_once`] is the whole job; cron ticks, commits and the command line only decide when it runs.

mod backlog;
mod deliver;
mod hold;
mod limiter;
mod pace;
mod report;
mod run;
mod schedule;
mod settle;
mod tell;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OnceCell},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    crash,
    database::{self, Database},
    destination::Destination,
    outbox::Policy,
    settings,
};

use pace::{BatchSize, Pauses};

pub use report::Report;
pub use schedule::{Pacemaker, Schedule, ScheduleError};

/// Most attempts that one transaction settles: below what every database takes in one statement.
const SETTLE_SIZE_MAX: usize = 1_000;
/// Most leases that one transaction takes back.
const RESCUE_SIZE_MAX: usize = 500;
/// The longest pause before a run that failed is followed by another, if no tick is earlier.
const RUN_PAUSE_MAX: Duration = Duration::from_secs(3);

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
    claim_size: BatchSize,
    settle_size: BatchSize,
    rescue_size: BatchSize,
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
        let limiter = limiter::Limiter::new(destination.name().as_str(), settings.concurrency);
        Self {
            db,
            destination,
            policy,
            limiter,
            backlog: backlog::Backlog::default(),
            hold: hold::Hold::default(),
            name,
            signals,
            claim_size: BatchSize::new(settings.batch_size),
            settle_size: BatchSize::new(SETTLE_SIZE_MAX),
            rescue_size: BatchSize::new(RESCUE_SIZE_MAX),
            settings,
            cut_off: CancellationToken::new(),
            registered: OnceCell::new(),
        }
    }

    /// Where its events go.
    #[must_use]
    pub fn destination(&self) -> &'static str {
        self.destination.name().as_str()
    }

    /// Ends deliveries that are in the air; what they come to is unknown, and settled as that.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Runs each time it is woken, and when a hold is over that it met, one run at a time, until it is drained. An error ends
    /// its run only: the database may be unavailable, so it runs again after a pause, also when no tick comes.
    pub async fn work(&self) {
        let (mut pauses, mut again) = (Pauses::default(), None);
        loop {
            tokio::select! {
                biased;
                () = self.signals.drain.cancelled() => return,
                () = self.signals.wake.notified() => {}
                () = self.hold.alarm() => {}
                () = sleep(again.unwrap_or(Duration::MAX)), if again.is_some() => {}
            }
            again = None;
            crash::point("worker-run");
            match self.run_once().await {
                Ok(report) => {
                    pauses.end();
                    if !report.is_idle() {
                        tracing::debug!(destination = self.destination(), %report, "run ended");
                    }
                }
                Err(error) => {
                    again = Some(pauses.next(RUN_PAUSE_MAX));
                    let advice = database::advice(&error);
                    let error = tell::chain(&error);
                    tracing::error!(destination = self.destination(), error, advice, "run failed");
                }
            }
        }
    }
}
