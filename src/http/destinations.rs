//! Stopping and starting deliveries.

use axum::{Extension, Json, extract::State, middleware::from_fn_with_state};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::{self, Caller, Permission},
    edge,
    input::{Name, OptionalJsonBody},
    problem::Problem,
    reason::{self, Reason},
};
use crate::{
    operator::{self, Operator},
    outbox::DestinationState,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .route_layer(from_fn_with_state(Permission::Operate, access::require))
        .route_layer(from_fn_with_state(TIME_LIMIT, edge::limit))
}

/// Stop deliveries to a destination
///
/// In the whole fleet; those that are running are finished. Pausing twice is one pause, the first one's.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/pause", operation_id = "pause_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "For example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination as it is now", body = DestinationState),
        (status = 400, description = "No JSON"),
        (status = 404, description = "There is no such destination"),
        (status = 413, description = "Over 256 KiB"),
        (status = 415, description = "Not sent as `application/json`"),
        (status = 422, description = "`errors` names every fault of the body"),
    )
)]
async fn pause(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Name(name): Name,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<DestinationState>, Problem> {
    let reason = reason::read(body.as_ref())?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    Ok(Json(operator::pause(&state.db, operator, &name).await?))
}

/// Start deliveries to a destination again
///
/// Resuming what is not paused changes nothing.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/resume", operation_id = "resume_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "For example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination as it is now", body = DestinationState),
        (status = 400, description = "No JSON"),
        (status = 404, description = "There is no such destination"),
        (status = 413, description = "Over 256 KiB"),
        (status = 415, description = "Not sent as `application/json`"),
        (status = 422, description = "`errors` names every fault of the body"),
    )
)]
async fn resume(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Name(name): Name,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<DestinationState>, Problem> {
    let reason = reason::read(body.as_ref())?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    let destination = operator::resume(&state.db, operator, &name).await?;
    state.wakeup.wake();
    Ok(Json(destination))
}
