//! Retrying one event.

use axum::{Json, extract::State};

use crate::{
    http::{
        AppState,
        input::Id,
        problem::Problem,
        reason::{Acting, Reason},
    },
    inspection::{self, EventView},
    operator,
};

/// Retry an event
///
/// A dead event becomes pending with a fresh count of attempts, and so does its quote if it was rejected. A pending event
/// becomes due now.
#[utoipa::path(
    post, path = "/v1/outbox/{id}/retry", operation_id = "retry_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The event's id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The event after the change", body = EventView),
        (status = 400, description = "Invalid id or malformed JSON"),
        (status = 404, description = "Unknown event, or retention has deleted it"),
        (status = 409, description = "The event is being delivered, or is already delivered or cancelled"),
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    Id(id): Id,
    acting: Acting,
) -> Result<Json<EventView>, Problem> {
    let event = operator::retry(&state.db, acting.operator(), id).await?;
    state.wakeup.wake();
    Ok(Json(inspection::view(&state.db, event).await?))
}
