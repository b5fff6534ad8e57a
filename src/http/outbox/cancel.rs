//! Cancelling an event.

use axum::{Extension, Json, extract::State};

use crate::{
    http::{
        AppState,
        access::Caller,
        input::{Id, OptionalJsonBody},
        problem::Problem,
        reason::{self, Reason},
    },
    inspection::EventView,
    operator::{self, Operator},
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
        (status = 413, description = "The body exceeds 256 KiB"),
        (status = 415, description = "The body is not sent as `application/json`"),
        (status = 422, description = "Invalid body; `errors` lists everything that is wrong"),
    )
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<EventView>, Problem> {
    let reason = reason::read(body.as_ref())?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    let event = operator::cancel(&state.db, state.submission.relay(), operator, id).await?;
    // The quote may now be cancelled, and an event that voids its fee may be due.
    state.settled.send();
    state.wakeup.wake();
    Ok(Json(event.into()))
}
