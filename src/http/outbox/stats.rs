//! Outbox statistics and stale quotes.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{AppState, problem::Problem, stale::Reads},
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
    /// Read from a replica whose state has what was committed by then; the header `Age` says how long ago that is. Left out if all was
    /// read from the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    as_of: Option<DateTime<Utc>>,
}

/// Count events by destination and status, and list stale quotes
///
/// It may come from a replica (`database.replica_url`) and is `Age` seconds old then; `Cache-Control: no-cache` asks for a fresh answer.
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The statistics", body = Stats))
)]
pub(super) async fn stats(State(state): State<AppState>, Reads { db, as_of }: Reads) -> Result<Json<Stats>, Problem> {
    let outbox = inspection::stats(&db).await?;
    let stale_quotes = sweeper::stale_quotes(&db, state.stale_after, STALE_LISTED_MAX).await?;
    Ok(Json(Stats { outbox, stale_quotes, as_of }))
}
