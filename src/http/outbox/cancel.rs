//! Giving an event up.

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

/// Give an event up
///
/// One that would have brought a fee gives up its quote, even a rejected one. Of an event that is being delivered the
/// running attempt is the last.
#[utoipa::path(
    post, path = "/v1/outbox/{id}/cancel", operation_id = "cancel_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "Its id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The event as it is now", body = EventView),
        (status = 400, description = "An unfit id, or no JSON"),
        (status = 404, description = "There is no such event, or retention deleted it"),
        (status = 409, description = "It was delivered or given up before"),
        (status = 413, description = "Over 256 KiB"),
        (status = 415, description = "Not sent as `application/json`"),
        (status = 422, description = "`errors` names every fault of the body"),
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
    // Its quote may be cancelled, and an event that voids its fee may be due.
    state.settled.send();
    state.wakeup.wake();
    Ok(Json(event.into()))
}
