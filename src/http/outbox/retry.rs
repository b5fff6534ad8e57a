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
/// A dead one comes back to life with all its attempts before it, and its quote, if it was rejected, is pending again; a
/// pending one is due now.
#[utoipa::path(
    post, path = "/v1/outbox/{id}/retry", operation_id = "retry_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "Its id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The event as it is now", body = EventView),
        (status = 400, description = "An unfit id, or no JSON"),
        (status = 404, description = "There is no such event, or retention deleted it"),
        (status = 409, description = "It is being delivered, or was delivered or given up"),
        (status = 413, description = "Over 256 KiB"),
        (status = 415, description = "Not sent as `application/json`"),
        (status = 422, description = "`errors` names every fault of the body"),
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
