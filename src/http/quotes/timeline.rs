//! A quote's timeline.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        AppState,
        input::Id,
        problem::{Kind, Problem},
    },
    timeline::{self, TimelineEntry},
};

/// A quote's timeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Timeline {
    /// What happened, in order of time.
    entries: Vec<TimelineEntry>,
}

/// Read a quote's timeline: everything that happened to it, in order
#[utoipa::path(
    get, path = "/v1/quotes/{id}/timeline", operation_id = "read_timeline", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The quote's id")),
    responses(
        (status = 200, description = "The timeline", body = Timeline),
        (status = 400, description = "Invalid id"),
        (status = 404, description = "Unknown quote"),
    )
)]
pub(super) async fn timeline(State(state): State<AppState>, Id(id): Id) -> Result<Json<Timeline>, Problem> {
    let entries = timeline::timeline(&state.reads, id).await?;
    let entries = entries.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no quote {id}")))?;
    Ok(Json(Timeline { entries }))
}
