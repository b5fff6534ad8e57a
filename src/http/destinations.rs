//! Pausing and resuming deliveries.

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

/// Pause deliveries to a destination
///
/// The pause applies to the whole fleet. Deliveries that are in progress are finished. Pausing a paused destination
/// changes nothing.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/pause", operation_id = "pause_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "The destination's name, for example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination after the change", body = DestinationState),
        (status = 400, description = "Malformed JSON"),
        (status = 404, description = "Unknown destination"),
        (status = 413, description = "The body exceeds 256 KiB"),
        (status = 415, description = "The body is not sent as `application/json`"),
        (status = 422, description = "Invalid body; `errors` lists everything that is wrong"),
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

/// Resume deliveries to a destination
///
/// Resuming a destination that is not paused changes nothing.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/resume", operation_id = "resume_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "The destination's name, for example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination after the change", body = DestinationState),
        (status = 400, description = "Malformed JSON"),
        (status = 404, description = "Unknown destination"),
        (status = 413, description = "The body exceeds 256 KiB"),
        (status = 415, description = "The body is not sent as `application/json`"),
        (status = 422, description = "Invalid body; `errors` lists everything that is wrong"),
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
