//! The outbox in numbers, and the quotes that wait for too long.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{AppState, problem::Problem},
    inspection,
    sweeper::{self, StaleQuotes},
};

/// How many stale quotes are named.
const STALE_NAMED_MAX: u64 = 20;

/// What there is to know at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// Events.
    #[serde(flatten)]
    outbox: inspection::Stats,
    /// Quotes that are pending for too long, up to 20 of them by name.
    stale_quotes: StaleQuotes,
}

/// Count events by destination and status, and name quotes that are pending for too long
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The numbers", body = Stats))
)]
pub(super) async fn stats(State(state): State<AppState>) -> Result<Json<Stats>, Problem> {
    let outbox = inspection::stats(&state.db).await?;
    let stale_quotes = sweeper::stale_quotes(&state.db, state.stale_after, STALE_NAMED_MAX).await?;
    Ok(Json(Stats { outbox, stale_quotes }))
}
