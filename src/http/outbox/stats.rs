//! Outbox statistics and stale quotes.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{AppState, problem::Problem},
    inspection,
    sweeper::{self, StaleQuotes},
};

/// Most stale quotes that are listed.
const STALE_LISTED_MAX: u64 = 20;

/// Statistics of the outbox, and stale quotes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// Statistics of the outbox.
    #[serde(flatten)]
    outbox: inspection::Stats,
    /// Quotes that have been pending for too long; up to 20 are listed.
    stale_quotes: StaleQuotes,
}

/// Count events by destination and status, and list stale quotes
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The statistics", body = Stats))
)]
pub(super) async fn stats(State(state): State<AppState>) -> Result<Json<Stats>, Problem> {
    let outbox = inspection::stats(&state.reads).await?;
    let stale_quotes = sweeper::stale_quotes(&state.reads, state.stale_after, STALE_LISTED_MAX).await?;
    Ok(Json(Stats { outbox, stale_quotes }))
}
