//! Liveness, readiness and metrics.

use std::time::Duration;

use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, Uri, header},
    response::IntoResponse,
};
use sea_orm::DbErr;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit, inspection,
    printable::chain,
    sweeper, telemetry,
    telemetry::{OPEN_METRICS, gauges, metrics},
    upkeep,
};

use super::{
    HealthState,
    problem::{self, Kind, Problem},
};

/// How long a scrape waits for the database. Prometheus gives up after some seconds.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    HealthState: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Check whether the process is alive
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses(
        (status = 200, description = "Alive", body = String, content_type = "text/plain"),
        (status = 503, description = "A task or schedule has stopped; `detail` names it"),
    )
)]
async fn healthz(State(state): State<HealthState>) -> Result<&'static str, Problem> {
    alive(&state).map(|()| "ok\n")
}

/// All tasks of the process run, and its schedules fire.
fn alive(state: &HealthState) -> Result<(), Problem> {
    let errors = state.health.why_unhealthy();
    if errors.is_empty() { Ok(()) } else { Err(Problem::new(Kind::NotReady, errors.join("; ")).retry_after_seconds(1)) }
}

/// Check whether the database accepts writes and has no pending migrations
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready; `detail` says why"),
    )
)]
async fn readyz(State(state): State<HealthState>) -> Result<&'static str, Problem> {
    alive(&state)?;
    if state.health.is_leaving() {
        return Err(Problem::new(Kind::NotReady, "the process is about to stop"));
    }
    state.readiness.ask().await.map(|()| "ready\n")
}

/// Read the metrics, for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (
            status = 200,
            description = "The metrics in Prometheus' text format, or as OpenMetrics with exemplars if `Accept` asks for it",
            content((String = "text/plain"), (String = "application/openmetrics-text")),
        ),
        (status = 404, description = "Metrics have a port of their own: `server.metrics_bind`"),
    )
)]
async fn metrics(State(state): State<HealthState>, headers: HeaderMap, uri: Uri) -> Result<impl IntoResponse, Problem> {
    let Some(metrics) = &state.metrics else { return Err(problem::unknown_route(uri).await) };
    // Counted at each scrape, so that a process without scrapes causes no load. While the database is unavailable the last
    // counts are shown.
    match tokio::time::timeout(DATABASE_LIMIT, feed_gauges(&state)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = chain(&error), "outbox metrics not updated: database error"),
        Err(_) => tracing::debug!(limit = ?DATABASE_LIMIT, "outbox metrics not updated: timed out"),
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let as_open_metrics = accepted.flat_map(|types| types.split(',')).any(|kind| kind.trim().starts_with(OPEN_METRICS));
    let content_type = if as_open_metrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    Ok(([(header::CONTENT_TYPE, content_type)], telemetry::render(metrics, as_open_metrics)))
}

async fn feed_gauges(state: &HealthState) -> Result<(), DbErr> {
    let (in_use, most) = state.scrapes.sessions_in_use();
    gauges::database_sessions(in_use, most);
    inspection::feed_gauges(&state.scrapes).await?;
    // Whichever process found them: an alert must not depend on which process Prometheus scrapes.
    let count = async |job| Ok::<_, DbErr>(upkeep::last_run(&state.scrapes, job).await?.and_then(|run| run.last_count));
    if let Some(violations) = count(audit::JOB).await? {
        metrics::promise_violations(u64::try_from(violations).unwrap_or(0));
    }
    if let Some(stale) = count(sweeper::JOB).await? {
        metrics::stale_quotes(u64::try_from(stale).unwrap_or(0));
    }
    Ok(())
}
