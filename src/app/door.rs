//! The HTTP server of a process: the API, or a worker's health and metrics.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{Parts, Roles, StartError, metrics_port};
use crate::{
    database::Database,
    http,
    quotes::KAFKA,
    settings::{Origin, Settings},
    strategy::{self, RollbackSome},
    submission::{Listener, Submission},
    supervision::Tasks,
    telemetry::{self, metrics},
    wakeup::Wakeup,
};

/// Starts it; returns where it listens.
pub(super) async fn open(
    parts: &Parts,
    roles: Roles,
    connections_max: usize,
    strategy: &strategy::Configured,
    tasks: &mut Tasks,
) -> Result<SocketAddr, StartError> {
    let bind = if roles.api { parts.settings.server.bind } else { parts.settings.worker.bind };
    let listener = listen(bind, !roles.api && has_default_bind(&parts.settings)).await?;
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
        let state = state.with_stale_reads(parts.reads.clone());
        let state = state.with_wakeup(wakeup).with_stale_after(parts.settings.sweeper.stale_after);
        let state = state.with_health(parts.health.clone()).with_trace_link(parts.settings.traces.link.clone());
        let state = state.with_settings(&parts.member.name, &parts.settings);
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

/// With the default address any number of workers can share a host.
fn has_default_bind(settings: &Settings) -> bool {
    settings.redacted().values.get("worker.bind").is_some_and(|in_force| in_force.origin == Origin::Default)
}

/// Listens at `bind`. If that is taken and `may_differ`, it listens at a free port and says which.
async fn listen(bind: SocketAddr, may_differ: bool) -> Result<TcpListener, StartError> {
    match TcpListener::bind(bind).await {
        Err(error) if may_differ && error.kind() == io::ErrorKind::AddrInUse => {
            let free = SocketAddr::new(bind.ip(), 0);
            let listener = TcpListener::bind(free).await.map_err(|error| StartError::Listen(free, error))?;
            let address = listener.local_addr().map_err(|error| StartError::Listen(free, error))?;
            tracing::info!(%address, taken = %bind, "health and metrics have a free port: the default one is taken");
            Ok(listener)
        }
        bound => bound.map_err(|error| StartError::Listen(bind, error)),
    }
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
