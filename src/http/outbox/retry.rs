//! Retrying one event.

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
        (status = 413, description = "The body exceeds 256 KiB"),
        (status = 415, description = "The body is not sent as `application/json`"),
        (status = 422, description = "Invalid body; `errors` lists everything that is wrong"),
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<EventView>, Problem> {
    let reason = reason::read(body.as_ref())?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    let event = operator::retry(&state.db, operator, id).await?;
    state.wakeup.wake();
    Ok(Json(event.into()))
}
