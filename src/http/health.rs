//! Whether the process lives, whether it is of use, and its numbers.

use std::time::Duration;

use axum::{
    extract::{FromRef, State},
    http::header,
    response::IntoResponse,
};
use migration::{Migrator, MigratorTrait};
use sea_orm::DbErr;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{audit, database::Unready, inspection, sweeper, telemetry, telemetry::metrics, upkeep};

use super::{
    Vitals,
    problem::{Kind, Problem, chain},
};

/// Who asks gives up after a few seconds.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Vitals: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// The process lives
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "What of it does not"),
    )
)]
async fn healthz(State(vitals): State<Vitals>) -> Result<&'static str, Problem> {
    alive(&vitals).map(|()| "ok\n")
}

/// All tasks of the process run, and its schedules tick.
fn alive(vitals: &Vitals) -> Result<(), Problem> {
    let faults = vitals.health.faults();
    if faults.is_empty() { Ok(()) } else { Err(Problem::new(Kind::NotReady, faults.join("; ")).retry_after_seconds(1)) }
}

/// The database takes writes and no migration is pending
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "What is missing"),
    )
)]
async fn readyz(State(vitals): State<Vitals>) -> Result<&'static str, Problem> {
    alive(&vitals)?;
    let not_ready = |detail: String| Problem::new(Kind::NotReady, detail).retry_after_seconds(1);
    let pending = async {
        vitals.db.writable().await?;
        let txn = vitals.db.snapshot().await?;
        match Migrator::get_pending_migrations_read_only(&*txn).await {
            Ok(pending) => Ok(pending.iter().map(|it| it.name().to_owned()).collect::<Vec<_>>()),
            // The database has migrations that this version does not know. A newer one runs beside it, as in every rolling
            // upgrade, and has applied what this one needs long ago.
            Err(DbErr::Custom(_)) => Ok(Vec::new()),
            Err(error) => Err(Unready::from(error)),
        }
    };
    let pending = match tokio::time::timeout(DATABASE_LIMIT, pending).await {
        Ok(Ok(pending)) => pending,
        Ok(Err(unready)) => return Err(not_ready(unready.to_string()).cause(&chain(&unready))),
        Err(_) => return Err(not_ready(format!("the database did not answer within {DATABASE_LIMIT:?}"))),
    };
    if pending.is_empty() {
        return Ok("ready\n");
    }
    Err(not_ready(format!("migrations pend, run `feebox migrate up`: {}", pending.join(", "))))
}

/// The numbers, for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "In the text format of Prometheus", body = String, content_type = "text/plain"))
)]
async fn metrics(State(vitals): State<Vitals>) -> impl IntoResponse {
    // Counted when somebody looks: a process that nobody scrapes asks the database nothing. While the database is away
    // the last counts are shown.
    match tokio::time::timeout(DATABASE_LIMIT, feed_gauges(&vitals)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = chain(&error), "the outbox could not be counted"),
        Err(_) => tracing::debug!("the outbox could not be counted in time"),
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render(&vitals.metrics))
}

async fn feed_gauges(vitals: &Vitals) -> Result<(), DbErr> {
    inspection::feed_gauges(&vitals.db).await?;
    // By whichever process it was found: an alarm must not depend on whom Prometheus asks.
    if let Some(violations) = upkeep::last_count(&vitals.db, audit::JOB).await? {
        metrics::promise_violations(u64::try_from(violations).unwrap_or(0));
    }
    if let Some(stale) = upkeep::last_count(&vitals.db, sweeper::JOB).await? {
        metrics::stale_quotes(u64::try_from(stale).unwrap_or(0));
    }
    Ok(())
}
