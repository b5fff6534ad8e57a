//! Reading and explaining one event.

use axum::{Json, extract::State};

use crate::{
    http::{AppState, input::Id, problem::Problem},
    inspection::{self, EventDetail, Explanation},
    operator::OperatorError,
    outbox,
    settings::Traces,
    telemetry::TraceContext,
};

/// Read an event, with its payload and its failures
#[utoipa::path(
    get, path = "/v1/outbox/{id}", operation_id = "read_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event", body = EventDetail),
        (status = 400, description = "Invalid id"),
        (status = 404, description = "Unknown event, or retention has deleted it"),
    )
)]
pub(super) async fn show(State(state): State<AppState>, Id(id): Id) -> Result<Json<EventDetail>, Problem> {
    let event = outbox::get(state.reads.connection(), id).await?.ok_or_else(|| OperatorError::no_event(id))?;
    let mut detail = inspection::detail(&state.reads, event).await?;
    if let (Some(link), Some(trace)) =
        (&state.trace_link, detail.trace_context.as_deref().and_then(TraceContext::parse))
    {
        detail.trace_url = Some(Traces::url_of(link, trace.trace_id()));
    }
    Ok(Json(detail))
}

/// Explain why an event is not delivered yet
#[utoipa::path(
    get, path = "/v1/outbox/{id}/explain", operation_id = "explain_event", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The reason, and the facts behind it", body = Explanation),
        (status = 400, description = "Invalid id"),
        (status = 404, description = "Unknown event, or retention has deleted it"),
    )
)]
pub(super) async fn explain(State(state): State<AppState>, Id(id): Id) -> Result<Json<Explanation>, Problem> {
    Ok(Json(inspection::explain(&state.reads, id).await?.ok_or_else(|| OperatorError::no_event(id))?))
}
