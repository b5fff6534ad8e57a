//! Wires settings into a running app. The only place that knows all parts.

mod audits;
mod descriptors;
mod door;
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

use chrono::Utc;
use croner::errors::CronError;
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, StaleReads},
    destination::ClientError,
    fleet::{self, Member, Role},
    schedule::{Pacemaker, Schedule, ScheduleError},
    series,
    settings::Settings,
    strategy,
    supervision::{Health, Tasks},
    telemetry, wakeup,
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

impl Roles {
    fn role(self) -> Role {
        match (self.api, self.worker) {
            (true, true) => Role::Dev,
            (true, false) => Role::Serve,
            (false, _) => Role::Worker,
        }
    }
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
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] telemetry::spans::StartError),
    /// A schedule that is no cron expression.
    #[error("a schedule is not a cron expression")]
    Cron(#[from] CronError),
}

/// A running app.
pub struct App {
    settings: Settings,
    db: Database,
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
    /// For what may be stale.
    reads: StaleReads,
    /// This process, as the fleet sees it.
    member: Member,
    signals: Signals,
    health: Health,
}

impl Parts {
    async fn new(settings: Settings, role: Role) -> Result<Self, StartError> {
        let member = Member::new(process_name(), role, &settings);
        if let Some(collector) = &settings.traces.otlp_endpoint {
            telemetry::spans::start(collector, settings.traces.sample_ratio, &member.name)?;
        }
        let db = Database::connect(&settings.database).await?;
        let reads = StaleReads::connect(&db, settings.database.replica.as_ref()).await?;
        Ok(Self { db, reads, member, signals: Signals::default(), health: Health::default(), settings })
    }
}

impl App {
    /// Starts it. An unavailable database or fee server does not keep it from starting: it goes on trying.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(mut settings: Settings, roles: Roles) -> Result<Self, StartError> {
        let shares = descriptors::fit(&mut settings, roles);
        let parts = Parts::new(settings, roles.role()).await?;
        let Parts { settings, db, member, signals, health, .. } = &parts;
        let mut tasks = Tasks::new(health.clone(), signals.drain.clone());
        let workers = roles.worker.then(|| Workers::new(settings, db, member, signals)).transpose()?;
        let strategy = strategy::configured(settings, db, &signals.settled)?;
        let address = door::open(&parts, roles, shares.http, &strategy, &mut tasks).await?;
        let pacemakers = if roles.worker { start_ticks(&parts, &mut tasks)? } else { Vec::new() };
        let schedule = Schedule::start(&pacemakers).await?;
        start_wakeup(&parts, roles, &mut tasks);
        start_heartbeat(&parts, &mut tasks);
        start_series(&parts, &mut tasks);
        start_stale_reads(&parts, &mut tasks);
        // Last: a process that does not start claims nothing.
        if let Some(workers) = &workers {
            workers.start(&mut tasks);
        }
        tracing::info!(%address, api = roles.api, worker = roles.worker, name = member.name, "started");
        let Parts { settings, db, health, signals, .. } = parts;
        let takes_submissions = roles.api;
        Ok(Self {
            settings,
            db,
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
        series::leave(&self.db).await;
        tracing::info!("stopped");
    }
}

/// Starts what cron drives: the worker's ticks, and the jobs of the fleet.
fn start_ticks(parts: &Parts, tasks: &mut Tasks) -> Result<Vec<Arc<Pacemaker>>, CronError> {
    let Parts { settings, signals, health, db, member, .. } = parts;
    let pacemaker = Arc::new(Pacemaker::new("worker", &settings.worker.schedule, health.clone())?);
    let mut pacemakers = vec![Arc::clone(&pacemaker)];
    let (wake, drain) = (signals.wake.clone(), signals.drain.clone());
    let (clock, vitals) = (db.clock().clone(), member.vitals.clone());
    tasks.spawn("schedule", move || {
        let (clock, vitals) = (clock.clone(), vitals.clone());
        let ticked = move || vitals.ticked(clock.shift(Utc::now()));
        wake_by_ticks(Arc::clone(&pacemaker), wake.clone(), drain.clone(), ticked)
    });
    let own = parts.clone();
    tasks.spawn("audit requests", move || audits::answer_requests(own.clone()));
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

async fn wake_by_ticks(pacemaker: Arc<Pacemaker>, wake: Signal, drain: CancellationToken, ticked: impl Fn()) {
    let mut ticks = pacemaker.ticks();
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = ticks.next() => {
                ticked();
                wake.send();
            }
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
        let (member, bind) = (parts.member.clone(), parts.settings.worker.wakeup_bind);
        let own = (db.clone(), wake.clone(), drain.clone());
        tasks.spawn("listener", move || wakeup::listen(own.0.clone(), own.1.clone(), own.2.clone()));
        tasks.spawn("wakeup", move || wakeup::receive(db.clone(), member.clone(), bind, wake.clone(), drain.clone()));
    } else {
        tasks.spawn("wakeup", move || wakeup::notify(db.clone(), wake.clone(), drain.clone()));
    }
}

/// Tells the fleet that this process lives.
fn start_heartbeat(parts: &Parts, tasks: &mut Tasks) {
    let (member, db, drain) = (parts.member.clone(), parts.db.clone(), parts.signals.drain.clone());
    tasks.spawn("heartbeat", move || {
        let (member, db, drain) = (member.clone(), db.clone(), drain.clone());
        async move { member.keep(&db, &drain).await }
    });
}

/// Adds what this process counts to the series of the fleet.
fn start_series(parts: &Parts, tasks: &mut Tasks) {
    let (db, drain) = (parts.db.clone(), parts.signals.drain.clone());
    tasks.spawn("series", move || series::keep(db.clone(), drain.clone()));
}

/// Keeps known how old the replica is, if there is one.
fn start_stale_reads(parts: &Parts, tasks: &mut Tasks) {
    if parts.settings.database.replica.is_some() {
        let (reads, drain) = (parts.reads.clone(), parts.signals.drain.clone());
        tasks.spawn("replica", move || reads.clone().keep(drain.clone()));
    }
}

/// Host and process, as operators see it on leases: unique among the processes that live.
#[must_use]
pub fn process_name() -> String {
    format!("{}:{}", fleet::host(), std::process::id())
}
