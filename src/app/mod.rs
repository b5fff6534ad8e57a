//! Wires settings into a running app. The only place that knows all parts.

mod descriptors;
mod jobs;
mod metrics_port;
mod once;
mod stop;
mod workers;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use croner::errors::CronError;
use sea_orm::DbErr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    database::Database,
    destination::ClientError,
    http,
    quotes::KAFKA,
    schedule::{Pacemaker, Schedule, ScheduleError},
    settings::Settings,
    strategy::{self, RollbackSome},
    submission::{Listener, Submission},
    supervision::{Health, Tasks},
    telemetry::{self, metrics},
    wakeup::{self, Wakeup},
    worker::{Signal, Signals},
};

pub use descriptors::raise as raise_descriptors;
pub use once::Once;
pub use stop::{Stop, StopSignals};
pub use workers::Workers;

/// How long a stopped app may take after its grace: to settle what was cut off, and for the last HTTP answers.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes submissions.
    pub api: bool,
    /// Delivers events.
    pub worker: bool,
}

/// Why an app did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's URL is not usable.
    #[error("the database cannot be opened")]
    Database(#[from] DbErr),
    /// The settings of the fee server or of Kafka are not usable.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another process listens there, for example.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The scheduler did not start.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A schedule that is no cron expression.
    #[error("a schedule is not a cron expression")]
    Cron(#[from] CronError),
}

/// A running app.
pub struct App {
    settings: Settings,
    takes_submissions: bool,
    /// Where it answers HTTP.
    address: SocketAddr,
    tasks: Tasks,
    health: Health,
    workers: Option<Workers>,
    strategy: strategy::Configured,
    schedule: Schedule,
    drain: CancellationToken,
}

/// What all parts of an app share.
#[derive(Clone)]
struct Parts {
    settings: Settings,
    db: Database,
    name: String,
    signals: Signals,
    health: Health,
}

impl Parts {
    async fn new(settings: Settings) -> Result<Self, StartError> {
        let db = Database::connect(&settings.database).await?;
        Ok(Self { db, name: process_name(), signals: Signals::default(), health: Health::default(), settings })
    }
}

impl App {
    /// Starts it. An unavailable database or fee server does not keep it from starting: it goes on trying.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(mut settings: Settings, roles: Roles) -> Result<Self, StartError> {
        let shares = descriptors::fit(&mut settings, roles);
        let parts = Parts::new(settings).await?;
        let Parts { settings, db, name, signals, health } = &parts;
        let mut tasks = Tasks::new(health.clone(), signals.drain.clone());
        let workers = roles.worker.then(|| Workers::new(settings, db, name, signals)).transpose()?;
        let strategy = strategy::configured(settings, db, &signals.settled)?;
        let address = start_http(&parts, roles, shares.http, &strategy, &mut tasks).await?;
        let pacemakers = if roles.worker { start_ticks(&parts, &mut tasks)? } else { Vec::new() };
        let schedule = Schedule::start(&pacemakers).await?;
        start_wakeup(&parts, roles, &mut tasks);
        // Last: a process that does not start claims nothing.
        if let Some(workers) = &workers {
            workers.start(&mut tasks);
        }
        tracing::info!(%address, api = roles.api, worker = roles.worker, name, "started");
        let Parts { settings, health, signals, .. } = parts;
        let takes_submissions = roles.api;
        Ok(Self {
            settings,
            takes_submissions,
            address,
            tasks,
            health,
            workers,
            strategy,
            schedule,
            drain: signals.drain,
        })
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs it until a signal, then stops it in good order. If the signal came from its supervisor, it first serves for
    /// `server.drain` those who still come, unless a second signal comes.
    ///
    /// # Errors
    /// One of its tasks cannot be kept alive: a new process may do better.
    pub async fn run_until(self, mut signals: StopSignals) -> anyhow::Result<()> {
        let health = self.health.clone();
        let stop = tokio::select! {
            stop = signals.next() => Ok(stop),
            () = health.hopeless() => Err(anyhow::anyhow!("{}", health.why_unhealthy().join("; "))),
        };
        health.leaving().cancel();
        let drain = self.settings.server.drain;
        if self.takes_submissions && matches!(stop, Ok(Stop::Politely)) && !drain.is_zero() {
            tracing::info!(?drain, "not ready any more; the port closes after server.drain");
            tokio::select! {
                _ = signals.next() => {}
                () = tokio::time::sleep(drain) => {}
            }
        }
        self.stop().await;
        stop.map(drop)
    }

    /// Stops it: nothing new is claimed or accepted, what runs may finish within `worker.shutdown_grace`, the rest is
    /// handed back.
    pub async fn stop(mut self) {
        self.health.leaving().cancel();
        self.drain.cancel();
        if let Err(error) = self.schedule.stop().await {
            tracing::debug!(%error, "the scheduler did not stop cleanly");
        }
        let deadline = Instant::now() + self.settings.worker.shutdown_grace;
        if tokio::time::timeout_at(deadline.into(), self.tasks.ended()).await.is_err() {
            // Their outcome is unknown, and is settled as that: the next attempt looks before it sends.
            tracing::warn!("deliveries outlasted worker.shutdown_grace and are cut off");
            if let Some(workers) = &self.workers {
                workers.cut_off();
            }
            if let Some(sender) = &self.strategy.sender {
                tracing::error!(in_flight = sender.in_flight(), "what no outbox remembers is lost");
            }
            let _ = tokio::time::timeout(LAST_GRACE, self.tasks.ended()).await;
        }
        tracing::info!("stopped");
    }
}

/// Starts what cron drives: the worker's ticks, and the jobs of the fleet.
fn start_ticks(parts: &Parts, tasks: &mut Tasks) -> Result<Vec<Arc<Pacemaker>>, CronError> {
    let Parts { settings, signals, health, .. } = parts;
    let pacemaker = Arc::new(Pacemaker::new("worker", &settings.worker.schedule, health.clone())?);
    let mut pacemakers = vec![Arc::clone(&pacemaker)];
    let (wake, drain) = (signals.wake.clone(), signals.drain.clone());
    tasks.spawn("schedule", move || wake_by_ticks(Arc::clone(&pacemaker), wake.clone(), drain.clone()));
    for upkeep in jobs::jobs(parts)? {
        let job = upkeep.job().name;
        let pacemaker = Arc::new(Pacemaker::new(job, &upkeep.job().schedule, health.clone())?);
        pacemakers.push(Arc::clone(&pacemaker));
        let (upkeep, drain) = (Arc::new(upkeep), signals.drain.clone());
        tasks.spawn(job, move || {
            let (upkeep, pacemaker, drain) = (Arc::clone(&upkeep), Arc::clone(&pacemaker), drain.clone());
            async move { upkeep.keep(&pacemaker, drain).await }
        });
    }
    Ok(pacemakers)
}

async fn wake_by_ticks(pacemaker: Arc<Pacemaker>, wake: Signal, drain: CancellationToken) {
    let mut ticks = pacemaker.ticks();
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = ticks.next() => wake.send(),
        }
    }
}

/// A process with workers listens to what others store; one without notifies them.
fn start_wakeup(parts: &Parts, roles: Roles, tasks: &mut Tasks) {
    if !parts.settings.worker.wakeup {
        return;
    }
    let (db, wake, drain) = (parts.db.clone(), parts.signals.wake.clone(), parts.signals.drain.clone());
    if roles.worker {
        let (name, bind) = (parts.name.clone(), parts.settings.worker.wakeup_bind);
        let own = (db.clone(), wake.clone(), drain.clone());
        tasks.spawn("listener", move || wakeup::listen(own.0.clone(), own.1.clone(), own.2.clone()));
        tasks.spawn("wakeup", move || wakeup::receive(db.clone(), name.clone(), bind, wake.clone(), drain.clone()));
    } else {
        tasks.spawn("wakeup", move || wakeup::notify(db.clone(), wake.clone(), drain.clone()));
    }
}

async fn start_http(
    parts: &Parts,
    roles: Roles,
    connections_max: usize,
    strategy: &strategy::Configured,
    tasks: &mut Tasks,
) -> Result<SocketAddr, StartError> {
    let bind = if roles.api { parts.settings.server.bind } else { parts.settings.worker.bind };
    let listener = TcpListener::bind(bind).await.map_err(|error| StartError::Listen(bind, error))?;
    let address = listener.local_addr().map_err(|error| StartError::Listen(bind, error))?;
    let metrics = telemetry::install_metrics();
    if parts.settings.kafka.brokers.is_some() {
        metrics::register_destination(KAFKA.as_str());
    }
    let (router, readiness) = if roles.api {
        let wakes = parts.settings.worker.wakeup;
        let wakeup = if wakes { Wakeup::new(parts.signals.wake.clone()) } else { Wakeup::default() };
        // Otherwise submissions wait for destinations, and as many of them as there are sessions.
        let waits_for_database = strategy.handover.shares_transactions();
        let sessions_max = if waits_for_database { submission_sessions(&parts.db) } else { parts.db.sessions_max() };
        let db = parts.db.share(sessions_max);
        let submission = Submission::new(db, Arc::clone(&strategy.handover), listeners(&wakeup));
        let state =
            http::AppState::new(submission, parts.db.clone(), &parts.settings.access, metrics.clone(), &parts.signals);
        let state = state.with_wakeup(wakeup).with_stale_after(parts.settings.sweeper.stale_after);
        let state = state.with_health(parts.health.clone());
        let state = if waits_for_database { state } else { state.with_unlimited_submissions() };
        let state = match parts.settings.server.metrics_bind {
            None => state,
            Some(bind) => {
                metrics_port::start(parts, bind, metrics, tasks).await?;
                state.without_metrics()
            }
        };
        let readiness = state.readiness();
        (http::router(state), readiness)
    } else {
        http::worker_router(&parts.db, metrics, parts.health.clone())
    };
    let drain = parts.signals.drain.clone();
    tasks.spawn("readiness", move || readiness.clone().keep(drain.clone()));
    let door = http::HttpServer::new(listener, connections_max).leaving_by(parts.health.leaving().clone());
    let door = door.behind(&parts.settings.server.trusted_proxies);
    let (drain, sender) = (parts.signals.drain.clone(), strategy.sender.clone());
    tasks.spawn("http", move || {
        let (door, router, drain, sender) = (door.clone(), router.clone(), drain.clone(), sender.clone());
        async move {
            door.serve(router, drain).await;
            // No quote is submitted any more: running calls may finish within the grace.
            if let Some(sender) = sender {
                sender.drain().await;
            }
        }
    });
    Ok(address)
}

/// The sessions that submissions use at most: there are always some for readers, operators and health checks.
fn submission_sessions(db: &Database) -> usize {
    let all = db.sessions_max();
    all.saturating_sub(all / 4 + 2).max(1)
}

/// What else happens at each submission.
fn listeners(wakeup: &Wakeup) -> Vec<Arc<dyn Listener>> {
    let mut listeners: Vec<Arc<dyn Listener>> = vec![Arc::new(wakeup.clone())];
    // Last, so that all others have run when it fails.
    if let Some(rollback) = RollbackSome::from_environment() {
        listeners.push(Arc::new(rollback));
    }
    listeners
}

/// Host and process, as operators see it on leases: unique among the processes that live.
#[must_use]
pub fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "host" } else { host };
    format!("{host}:{}", std::process::id())
}
