//! Reading one quote.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
};

use super::{WAIT_SECONDS_MAX, is_owned_now, view, wait};
use crate::{
    http::{
        AppState,
        access::Caller,
        input::{Id, Query},
        problem::{Kind, Problem},
    },
    quotes,
};

/// Read a quote
///
/// Submitters see only their own quotes. With `wait`, the answer comes as soon as the quote is no longer pending.
#[utoipa::path(
    get, path = "/v1/quotes/{id}", operation_id = "read_quote", tag = "quotes", security(("token" = [])),
    params(
        ("id" = uuid::Uuid, Path, description = "The quote's id"),
        ("wait" = Option<u64>, Query, description = "Longest wait, in seconds", minimum = 0, maximum = 30),
    ),
    responses(
        (status = 200, description = "The quote", body = view::Quote),
        (status = 400, description = "Invalid id or parameter"),
        (status = 404, description = "Unknown quote, or that of another submitter"),
    )
)]
pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    RawQuery(raw): RawQuery,
) -> Result<Json<view::Quote>, Problem> {
    let mut query = Query::read(raw.as_deref(), &["wait"]);
    let wait = query.number("wait", 0, WAIT_SECONDS_MAX).unwrap_or(0);
    query.finish()?;
    let get = async || {
        if wait > 0 {
            wait::until_not_pending(&state, id, caller.sees_only(), Duration::from_secs(wait)).await?;
        }
        quotes::get_of(state.reads.connection(), id, caller.sees_only()).await
    };
    let mut found = get().await?;
    if found.is_none() && is_owned_now(&state, &caller, id).await? {
        found = get().await?;
    }
    let found = found.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no quote {id}")))?;
    view::Quote::seen_by(&caller, found).map(Json)
}
