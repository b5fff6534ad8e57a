//! Wires settings into a running app. The only place that knows all.

mod descriptors;
mod jobs;
mod once;
mod workers;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use croner::errors::CronError;
use sea_orm::DbErr;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    database::Database,
    destination::FeeServerError,
    http,
    quotes::KAFKA,
    settings::Settings,
    strategy::{self, RollbackSome, StrategyError},
    submission::{Listener, Submission},
    supervision::{Health, Tasks},
    telemetry::{self, metrics},
    wakeup::{self, Wakeup},
    worker::{Pacemaker, Schedule, ScheduleError, Signals},
};

pub use descriptors::raise as raise_descriptors;
pub use once::Once;
pub use workers::Workers;

/// How long a stopped app may take after its grace: to write down what was cut off, and for the last HTTP answers.
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
    /// The fee server's settings are not usable.
    #[error("the fee server's client cannot be built")]
    FeeServer(#[from] FeeServerError),
    /// The Kafka client does not take its settings.
    #[cfg(feature = "kafka")]
    #[error("the Kafka client cannot be built")]
    Kafka(#[from] crate::destination::KafkaClientError),
    /// Somebody else listens there, for example.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The strategy's own client cannot be built.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// The scheduler did not start.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A schedule that is no cron expression.
    #[error("a schedule is no cron expression")]
    Cron(#[from] CronError),
}

/// A running app.
pub struct App {
    settings: Settings,
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
    /// Starts it. A database or fee server that is away does not keep it from starting: it goes on trying.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(mut settings: Settings, roles: Roles) -> Result<Self, StartError> {
        let shares = descriptors::fit(&mut settings, roles);
        let parts = Parts::new(settings).await?;
        let mut tasks = Tasks::new(parts.health.clone(), parts.signals.drain.clone());
        let mut pacemakers = Vec::new();
        let workers = if roles.worker { Some(start_workers(&parts, &mut tasks, &mut pacemakers)?) } else { None };
        let strategy = strategy::configured(&parts.settings, &parts.db, &parts.signals.settled)?;
        let address = start_http(&parts, roles, shares.http, &strategy, &mut tasks).await?;
        let schedule = Schedule::start(&pacemakers).await?;
        keep_pace(pacemakers, &parts.signals.drain, &mut tasks);
        tracing::info!(%address, api = roles.api, worker = roles.worker, name = parts.name, "started");
        // Last: what was left by whoever ran before is taken up at once.
        parts.signals.wake.notify_one();
        let (Parts { settings, health, signals, .. }, strategy) = (parts, strategy);
        Ok(Self { settings, address, tasks, health, workers, strategy, schedule, drain: signals.drain })
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs it until `stop`, then stops it in good order.
    ///
    /// # Errors
    /// Those of `stop`, and that one of its tasks cannot be kept alive: a new process may do better.
    pub async fn run_until(self, stop: impl Future<Output = io::Result<()>>) -> anyhow::Result<()> {
        let health = self.health.clone();
        let ended = tokio::select! {
            told = stop => told.map_err(Into::into),
            () = health.hopeless() => Err(anyhow::anyhow!("{}", health.faults().join("; "))),
        };
        self.stop().await;
        ended
    }

    /// Stops it: nothing new is claimed or accepted, what runs may finish within `worker.shutdown_grace`, the rest is
    /// handed back.
    pub async fn stop(mut self) {
        self.drain.cancel();
        if let Err(error) = self.schedule.stop().await {
            tracing::debug!(%error, "the scheduler did not stop cleanly");
        }
        let deadline = Instant::now() + self.settings.worker.shutdown_grace;
        if tokio::time::timeout_at(deadline.into(), self.tasks.ended()).await.is_err() {
            // Their outcome is unknown: written down as that, another worker looks before it sends again.
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

fn start_workers(parts: &Parts, tasks: &mut Tasks, pacemakers: &mut Vec<Pacemaker>) -> Result<Workers, StartError> {
    let workers = Workers::new(&parts.settings, &parts.db, &parts.name, &parts.signals)?;
    workers.start(&parts.signals, tasks);
    let (wake, health) = (&parts.signals.wake, &parts.health);
    pacemakers.push(Pacemaker::new("worker", &parts.settings.worker.schedule, Arc::clone(wake), health.clone())?);
    if parts.settings.worker.wakeup {
        let (db, wake, drain) = (parts.db.clone(), Arc::clone(wake), parts.signals.drain.clone());
        tasks.spawn("listener", move || wakeup::listen(db.clone(), Arc::clone(&wake), drain.clone()));
    }
    for (upkeep, schedule) in jobs::jobs(parts)? {
        let (wake, upkeep) = (Arc::<Notify>::default(), Arc::new(upkeep));
        pacemakers.push(Pacemaker::new(upkeep.name(), &schedule, Arc::clone(&wake), health.clone())?);
        let drain = parts.signals.drain.clone();
        tasks.spawn(upkeep.name(), move || {
            let (upkeep, wake, drain) = (Arc::clone(&upkeep), Arc::clone(&wake), drain.clone());
            // Ticks that were missed while nobody ran are made up for now.
            wake.notify_one();
            async move { upkeep.keep(wake, drain).await }
        });
    }
    Ok(workers)
}

/// Each schedule ticks until `drain`, whatever happens to the wall clock.
fn keep_pace(pacemakers: Vec<Pacemaker>, drain: &CancellationToken, tasks: &mut Tasks) {
    for pacemaker in pacemakers.into_iter().map(Arc::new) {
        let drain = drain.clone();
        tasks.spawn("schedule", move || {
            let (pacemaker, drain) = (Arc::clone(&pacemaker), drain.clone());
            async move {
                tokio::select! {
                    () = drain.cancelled() => {}
                    () = pacemaker.run() => {}
                }
            }
        });
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
    let router = if roles.api {
        let wakeup = wakeup(parts, roles, tasks);
        let submission = Submission::new(parts.db.clone(), Arc::clone(&strategy.handover), listeners(&wakeup));
        let state = http::AppState::new(submission, parts.db.clone(), &parts.settings.access, metrics, &parts.signals);
        let state = state.with_wakeup(wakeup).with_stale_after(parts.settings.sweeper.stale_after);
        http::router(state.with_health(parts.health.clone()))
    } else {
        http::worker_router(parts.db.clone(), metrics, parts.health.clone())
    };
    let (door, drain, sender) =
        (http::HttpServer::new(listener, connections_max), parts.signals.drain.clone(), strategy.sender.clone());
    tasks.spawn("http", move || {
        let (door, router, drain, sender) = (door.clone(), router.clone(), drain.clone(), sender.clone());
        async move {
            door.serve(router, drain).await;
            // Nothing new is submitted any more: what is in flight may finish within the grace.
            if let Some(sender) = sender {
                sender.drain().await;
            }
        }
    });
    Ok(address)
}

/// Whom submissions and operators wake: nobody, where that is switched off.
fn wakeup(parts: &Parts, roles: Roles, tasks: &mut Tasks) -> Wakeup {
    if !parts.settings.worker.wakeup {
        return Wakeup::default();
    }
    let local = roles.worker.then(|| Arc::clone(&parts.signals.wake));
    Wakeup::new(&parts.db, local, &parts.signals.drain, tasks)
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
