//! Whether the promises are kept.

use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::Permission,
    guarded,
    problem::Problem,
    reason::{Acting, Reason},
};
use crate::{
    audit::{self, AuditStatus},
    operator,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let (read, change) = (OpenApiRouter::new().routes(routes!(show)), OpenApiRouter::new().routes(routes!(run)));
    guarded(read, Permission::ReadAll, TIME_LIMIT).merge(guarded(change, Permission::Operate, TIME_LIMIT))
}

/// Show the promises, when each was last checked, and the violations that are known
///
/// A violation stays until a later check of its quote no longer finds it.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "show_audit", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The promises and their violations", body = AuditStatus))
)]
async fn show(State(state): State<AppState>) -> Result<Json<AuditStatus>, Problem> {
    Ok(Json(audit::status(&state.reads).await?))
}

/// Check the promises now
///
/// A worker begins within seconds and checks all quotes, as far as it comes in ten minutes; `running` is true until then. A check
/// that is under way is not begun twice. `note` says when no worker is alive.
#[utoipa::path(
    post, path = "/v1/audit", operation_id = "run_audit", tag = "operations", security(("token" = [])),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "What is known so far", body = AuditStatus),
        (status = 400, description = "Malformed JSON"),
    )
)]
async fn run(State(state): State<AppState>, acting: Acting) -> Result<(StatusCode, Json<AuditStatus>), Problem> {
    operator::request_audit(&state.db, acting.operator()).await?;
    state.wakeup.wake();
    Ok((StatusCode::ACCEPTED, Json(audit::status(&state.db).await?)))
}
