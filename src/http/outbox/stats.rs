//! The outbox in numbers.

use axum::{Json, extract::State};

use crate::{
    http::{AppState, problem::Problem},
    outbox::{self, Stats},
};

/// Count events by destination and status
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The numbers", body = Stats))
)]
pub(super) async fn stats(State(state): State<AppState>) -> Result<Json<Stats>, Problem> {
    Ok(Json(outbox::stats(&state.db).await?))
}
