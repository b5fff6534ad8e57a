//! Cancelling an event.

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

/// Cancel an event
///
/// If the event would have brought a fee, its quote is cancelled too, even a rejected one. If it is being delivered, the
/// current attempt is finished and no other follows.
#[utoipa::path(
    post, path = "/v1/outbox/{id}/cancel", operation_id = "cancel_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The event's id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The event after the change", body = EventView),
        (status = 400, description = "Invalid id or malformed JSON"),
        (status = 404, description = "Unknown event, or retention has deleted it"),
        (status = 409, description = "The event is already delivered or cancelled"),
    )
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Id(id): Id,
    acting: Acting,
) -> Result<Json<EventView>, Problem> {
    let event = operator::cancel(&state.db, state.submission.relay(), acting.operator(), id).await?;
    // The quote may now be cancelled, and an event that voids its fee may be due.
    state.settled.send();
    state.wakeup.wake();
    Ok(Json(inspection::view(&state.db, event).await?))
}
