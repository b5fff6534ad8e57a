//! Liveness, readiness and metrics.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, Uri, header},
    response::IntoResponse,
};
use sea_orm::DbErr;
use tokio::{sync::Mutex, time::timeout};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit,
    database::Database,
    inspection,
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
/// How long a question of theirs may take: longer than a wait for a lock, which the server ends.
const QUESTION_MAX: Duration = Duration::from_secs(30);

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
    state.scrapes.feed_gauges().await;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let as_open_metrics = accepted.flat_map(|types| types.split(',')).any(|kind| kind.trim().starts_with(OPEN_METRICS));
    let content_type = if as_open_metrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    Ok(([(header::CONTENT_TYPE, content_type)], telemetry::render(metrics, as_open_metrics)))
}

/// What scrapes ask the database: one question at a time, however many scrapes there are.
#[derive(Clone)]
pub(super) struct Scrapes {
    db: Database,
    under_way: Arc<Mutex<()>>,
}

impl Scrapes {
    pub(super) fn of(db: &Database) -> Self {
        Self { db: db.share(1), under_way: Arc::default() }
    }

    /// Returns when the gauges have new values, or after a while. A question that is under way is not asked again, and not given up:
    /// where it waits for a lock, the server would go on with it for nobody, beside the next one.
    async fn feed_gauges(&self) {
        if let Ok(turn) = Arc::clone(&self.under_way).try_lock_owned() {
            let own = self.clone();
            tokio::spawn(async move {
                let _turn = turn;
                match timeout(QUESTION_MAX, own.ask()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(error = chain(&error), "outbox metrics not updated: database error");
                    }
                    Err(_) => tracing::debug!(limit = ?QUESTION_MAX, "outbox metrics not updated: timed out"),
                }
            });
        }
        if timeout(DATABASE_LIMIT, self.under_way.lock()).await.is_err() {
            tracing::debug!(limit = ?DATABASE_LIMIT, "outbox metrics are not there yet");
        }
    }

    async fn ask(&self) -> Result<(), DbErr> {
        let (in_use, most) = self.db.sessions_in_use();
        gauges::database_sessions(in_use, most);
        inspection::feed_gauges(&self.db).await?;
        // Whichever process found them: an alert must not depend on which process Prometheus scrapes.
        let count = async |job| Ok::<_, DbErr>(upkeep::last_run(&self.db, job).await?.and_then(|run| run.last_count));
        if let Some(violations) = count(audit::JOB).await? {
            metrics::promise_violations(u64::try_from(violations).unwrap_or(0));
        }
        if let Some(stale) = count(sweeper::JOB).await? {
            metrics::stale_quotes(u64::try_from(stale).unwrap_or(0));
        }
        Ok(())
    }
}
