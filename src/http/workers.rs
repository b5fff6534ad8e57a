//! The processes of the fleet.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, TIME_LIMIT, access::Permission, guarded, problem::Problem};
use crate::fleet::{self, Workers};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    guarded(OpenApiRouter::new().routes(routes!(list)), Permission::ReadAll, TIME_LIMIT)
}

/// List the processes of the last hour
#[utoipa::path(
    get, path = "/v1/workers", operation_id = "list_workers", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The processes, and how they are doing", body = Workers))
)]
async fn list(State(state): State<AppState>) -> Result<Json<Workers>, Problem> {
    Ok(Json(fleet::workers(&state.reads).await?))
}
