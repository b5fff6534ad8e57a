//! The log of operator actions.

use axum::{
    Json,
    extract::{RawQuery, State},
    middleware::from_fn_with_state,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    AppState, TIME_LIMIT,
    access::{self, Permission},
    cursor, edge,
    input::Query,
    problem::Problem,
};
use crate::{
    database::Page,
    operator::{ActionFilter, ActionView, actions},
};

const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: u64 = 200;

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
    OpenApiRouter::new()
        .routes(routes!(list))
        .route_layer(from_fn_with_state(Permission::ReadAll, access::require))
        .route_layer(from_fn_with_state(TIME_LIMIT, edge::limit))
}

/// List operator actions, newest first
#[utoipa::path(
    get, path = "/v1/actions", operation_id = "list_actions", tag = "operations", security(("token" = [])),
    params(
        ("quote_id" = Option<Uuid>, Query, description = "Only actions that concern this quote"),
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
    let filter = ActionFilter {
        quote_id: query.optional("quote_id", |id| Uuid::try_parse(id).map_err(|_| format!("is {id:?}; send a UUID"))),
        before: query.optional("cursor", cursor::parse),
    };
    let limit = query.number("limit", 1, LIMIT_MAX).unwrap_or(LIMIT_DEFAULT);
    query.finish()?;
    let Page { rows, next } = actions::list(state.reads.connection(), &filter, limit).await?;
    Ok(Json(ActionPage { actions: rows.into_iter().map(Into::into).collect(), next: next.map(cursor::after) }))
}
