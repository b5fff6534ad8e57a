//! The log of operator actions.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, TIME_LIMIT, access::Permission, cursor, guarded, input::Query, problem::Problem};
use crate::{
    database::Page,
    operator::{ActionFilter, ActionView, actions},
};

/// A page of operator actions.
#[derive(Debug, Serialize, ToSchema)]
struct ActionPage {
    /// Newest first.
    actions: Vec<ActionView>,
    /// The `cursor` of the next page; null on the last page. Other pages can have fewer rows than `limit`.
    #[schema(required)]
    next: Option<String>,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    guarded(OpenApiRouter::new().routes(routes!(list)), Permission::ReadAll, TIME_LIMIT)
}

/// List operator actions, newest first
#[utoipa::path(
    get, path = "/v1/actions", operation_id = "list_actions", tag = "operations", security(("token" = [])),
    params(
        ("quote_id" = Option<uuid::Uuid>, Query, description = "Only actions that concern this quote"),
        ("limit" = Option<u64>, Query, description = "Page size; 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next` value of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of actions", body = ActionPage),
        (status = 400, description = "Invalid parameter"),
    )
)]
async fn list(State(state): State<AppState>, RawQuery(raw): RawQuery) -> Result<Json<ActionPage>, Problem> {
    let mut query = Query::read(raw.as_deref(), &["quote_id", "limit", "cursor"]);
    let filter = ActionFilter { quote_id: query.id("quote_id"), before: query.cursor() };
    let limit = query.limit();
    query.finish()?;
    let Page { rows, next } = actions::list(state.reads.connection(), &filter, limit).await?;
    Ok(Json(ActionPage { actions: rows.into_iter().map(Into::into).collect(), next: next.map(cursor::after) }))
}
