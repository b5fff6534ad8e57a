//! Empties the outbox: claim, deliver, settle, until nothing is due.
//!
//! [`Worker::run_once`] is the whole job. Cron ticks, commits and the command line only decide when it runs.

mod backlog;
mod deliver;
mod hold;
mod limiter;
mod logging;
mod pace;
mod report;
mod run;
mod settings;
mod settle;
mod signals;
mod vitals;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::OnceCell,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    crash,
    database::{self, Database},
    destination::Destination,
    outbox::{DestinationName, Policy, Poll, Turn},
};

use pace::{BatchSize, Pauses};

#[cfg(feature = "lab")]
pub(crate) use limiter::LimitOnPaper;
pub use report::Report;
#[cfg(feature = "lab")]
pub(crate) use run::StockOnPaper;
pub use settings::Settings;
pub use signals::{Listening, Signal, Signals};
pub use vitals::Vitals;

/// Most attempts that one transaction settles: below what every database takes in one statement.
const SETTLE_SIZE_MAX: usize = 1_000;
/// Most leases that one transaction takes back.
const RESCUE_SIZE_MAX: usize = 500;
/// A worker that is woken looks no more often than this whether there is work: something was stored, so it claims at once.
const POLL_GAP: Duration = Duration::from_secs(1);
/// The longest pause between a run that failed and the next one.
const RUN_PAUSE_MAX: Duration = Duration::from_secs(3);

/// A worker for one destination. Any number may work on the same database.
pub struct Worker<D: Destination> {
    db: Database,
    destination: Arc<D>,
    policy: Policy,
    settings: Settings,
    name: String,
    limiter: limiter::Limiter,
    backlog: backlog::Backlog,
    hold: hold::LocalHold,
    signals: Signals,
    wakes: Vec<Signal>,
    claim_size: BatchSize,
    settle_size: BatchSize,
    rescue_size: BatchSize,
    cut_off: CancellationToken,
    registered: OnceCell<()>,
    /// Whose turn it is.
    turn: Mutex<Turn>,
    /// For how long events are leased.
    event_lease: Duration,
    vitals: Vitals,
}

impl<D: Destination> Worker<D> {
    /// A worker called `name`, which operators see on its leases.
    #[must_use]
    pub fn new(
        db: Database,
        destination: Arc<D>,
        policy: Policy,
        settings: impl Into<Settings>,
        name: String,
        signals: Signals,
    ) -> Self {
        let settings = settings.into();
        let limiter = limiter::Limiter::new(destination.name().clone(), settings.concurrency);
        let event_lease = settings.lease.max(destination.patience() * 3 / 2);
        Self {
            db,
            destination,
            policy,
            limiter,
            backlog: backlog::Backlog::default(),
            hold: hold::LocalHold::default(),
            name,
            wakes: vec![signals.wake.clone()],
            signals,
            claim_size: BatchSize::new(settings.batch_size),
            settle_size: BatchSize::new(SETTLE_SIZE_MAX),
            rescue_size: BatchSize::new(RESCUE_SIZE_MAX),
            settings,
            cut_off: CancellationToken::new(),
            registered: OnceCell::new(),
            turn: Mutex::default(),
            event_lease,
            vitals: Vitals::default(),
        }
    }

    /// The same worker, which `signal` wakes, too.
    #[must_use]
    pub fn also_woken_by(mut self, signal: Signal) -> Self {
        self.wakes.push(signal);
        self
    }

    /// The same worker, which says in `vitals` how it is doing.
    #[must_use]
    pub fn reporting_to(mut self, vitals: Vitals) -> Self {
        vitals.delivers(self.destination(), 0, self.limiter.limit());
        self.vitals = vitals;
        self
    }

    /// Where its events go.
    #[must_use]
    pub fn destination(&self) -> &DestinationName {
        self.destination.name()
    }

    /// Ends the running deliveries. Their outcome is unknown, and is settled as that.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Runs at once, and then each time it is woken or a hold that it met has ended, one run at a time, until it is
    /// drained. An error ends its run only: the database may be unavailable, so it runs again after a pause, also when no
    /// tick comes.
    pub async fn work(&self) {
        let (mut wakes, mut pauses) = (self.listen(), Pauses::default());
        let (mut is_woken, mut polled_at) = (false, Instant::now());
        while !self.signals.drain.is_cancelled() {
            crash::point("worker-run");
            let run = if is_woken && polled_at.elapsed() < POLL_GAP {
                self.run_for(&mut wakes, Poll { due: true, expired: false }).await
            } else {
                polled_at = Instant::now();
                self.run(&mut wakes).await
            };
            let retry_at = match run {
                Ok(report) => {
                    pauses.end();
                    if !report.is_idle() {
                        tracing::debug!(destination = self.destination().as_str(), %report, "run ended");
                    }
                    None
                }
                Err(error) => {
                    let (advice, error) = (database::advice(&error), logging::chain(&error));
                    tracing::error!(destination = self.destination().as_str(), error, advice, "run failed");
                    Some(Instant::now() + pauses.next(RUN_PAUSE_MAX))
                }
            };
            is_woken = tokio::select! {
                () = self.signals.drain.cancelled() => false,
                () = wakes.heard() => true,
                () = self.hold.ended() => false,
                () = until(retry_at) => false,
            };
        }
    }

    /// Works as [`work`](Self::work) does, and looks each `tick` whether something is due, also if nobody wakes it: then a retry's
    /// time has come, another process has stored something, or a lease has run out.
    pub async fn work_every(&self, tick: Duration) {
        let ticks = async {
            let mut ticks = interval(tick);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                self.signals.wake.send();
            }
        };
        tokio::select! {
            () = self.work() => {}
            () = ticks => {}
        }
    }

    fn listen(&self) -> Listening {
        signals::listen(&self.wakes)
    }
}

/// Waits until `at`; forever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
