//! Failures by cause.

use axum::{Json, extract::RawQuery};

use crate::{
    http::{input::Query, problem::Problem, stale::Reads},
    inspection::{self, Causes},
    quotes::new_quote::parse_text,
};

/// Group failed events by cause
///
/// A cause is outcome, HTTP status, and the error's text without ids and numbers. The answer may come from a replica
/// (`database.replica_url`) and is `Age` seconds old then; `Cache-Control: no-cache` asks for a fresh one.
#[utoipa::path(
    get, path = "/v1/causes", operation_id = "list_causes", tag = "operations", security(("token" = [])),
    params(
        ("status" = Option<String>, Query, description = "pending, leased, delivered, dead or cancelled; without it \
            events that are neither delivered nor cancelled", pattern = "^(pending|leased|delivered|dead|cancelled)$"),
        ("destination" = Option<String>, Query, description = "Only events for this destination, for example fee-server",
            min_length = 1, max_length = 64),
    ),
    responses(
        (status = 200, description = "The causes, with the most events first", body = Causes),
        (status = 400, description = "Invalid parameter"),
    )
)]
pub(super) async fn causes(Reads { db, as_of }: Reads, RawQuery(raw): RawQuery) -> Result<Json<Causes>, Problem> {
    let mut query = Query::read(raw.as_deref(), &["status", "destination"]);
    let status = query.status();
    let destination = query.optional("destination", |name| parse_text(name, 64));
    query.finish()?;
    let causes = inspection::causes(&db, status, destination.as_deref()).await?;
    Ok(Json(Causes { as_of, ..causes }))
}
