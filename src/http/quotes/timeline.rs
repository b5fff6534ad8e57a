//! Everything that happened to a quote.

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

/// What happened to a quote.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Timeline {
    /// In order of time.
    entries: Vec<TimelineEntry>,
}

/// Read everything that happened to a quote, in order
#[utoipa::path(
    get, path = "/v1/quotes/{id}/timeline", operation_id = "read_timeline", tag = "operations", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The quote's id")),
    responses(
        (status = 200, description = "What happened", body = Timeline),
        (status = 400, description = "An unfit id"),
        (status = 404, description = "There is no such quote"),
    )
)]
pub(super) async fn timeline(State(state): State<AppState>, Id(id): Id) -> Result<Json<Timeline>, Problem> {
    let entries = timeline::timeline(&state.db, id).await?;
    let entries = entries.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no quote {id}")))?;
    Ok(Json(Timeline { entries }))
}
