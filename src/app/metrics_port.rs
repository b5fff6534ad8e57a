//! Health and metrics on a port of their own, away from the API's clients.

use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::{Parts, StartError};
use crate::{http, supervision::Tasks};

/// Scrapers and health checks are few.
const CONNECTIONS_MAX: usize = 64;

/// Listens on `bind` for scrapers and health checks.
pub(super) async fn start(
    parts: &Parts,
    bind: SocketAddr,
    metrics: PrometheusHandle,
    tasks: &mut Tasks,
) -> Result<(), StartError> {
    let listener = TcpListener::bind(bind).await.map_err(|error| StartError::Listen(bind, error))?;
    let address = listener.local_addr().map_err(|error| StartError::Listen(bind, error))?;
    let (router, readiness) = http::worker_router(&parts.db, metrics, parts.health.clone());
    let drain = parts.signals.drain.clone();
    tasks.spawn("readiness for metrics", move || readiness.clone().keep(drain.clone()));
    let server = http::HttpServer::new(listener, CONNECTIONS_MAX).leaving_by(parts.health.leaving().clone());
    let drain = parts.signals.drain.clone();
    tasks.spawn("metrics", move || {
        let (server, router, drain) = (server.clone(), router.clone(), drain.clone());
        async move { server.serve(router, drain).await }
    });
    tracing::info!(%address, "health and metrics have a port of their own");
    Ok(())
}
