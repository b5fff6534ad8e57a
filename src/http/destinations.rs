//! Pausing and resuming deliveries.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::Permission,
    guarded,
    input::Name,
    problem::Problem,
    reason::{Acting, Reason},
};
use crate::{operator, outbox::DestinationState};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let routes = OpenApiRouter::new().routes(routes!(pause)).routes(routes!(resume));
    guarded(routes, Permission::Operate, TIME_LIMIT)
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
    )
)]
async fn pause(
    State(state): State<AppState>,
    Name(name): Name,
    acting: Acting,
) -> Result<Json<DestinationState>, Problem> {
    Ok(Json(operator::pause(&state.db, acting.operator(), &name).await?))
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
    )
)]
async fn resume(
    State(state): State<AppState>,
    Name(name): Name,
    acting: Acting,
) -> Result<Json<DestinationState>, Problem> {
    let destination = operator::resume(&state.db, acting.operator(), &name).await?;
    state.wakeup.wake();
    Ok(Json(destination))
}
