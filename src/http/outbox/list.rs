//! Listing events.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    database::{Listed, Page},
    http::{AppState, cursor, input::Query, problem::Problem},
    inspection::{self, EventFilter, EventView},
    quotes::new_quote::parse_text,
};

/// Most characters of an error's text to filter by.
const ERROR_LENGTH_MAX: usize = 500;

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventPage {
    /// Newest first.
    events: Vec<EventView>,
    /// Events of this page that are stored but cannot be read; the log says why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unreadable: Vec<Uuid>,
    /// The `cursor` of the next page; null on the last page. Other pages can have fewer rows than `limit`.
    #[schema(required)]
    next: Option<String>,
}

/// List events, newest first
#[utoipa::path(
    get, path = "/v1/outbox", operation_id = "list_events", tag = "operations", security(("token" = [])),
    params(
        ("status" = Option<String>, Query, description = "pending, leased, delivered, dead or cancelled",
            pattern = "^(pending|leased|delivered|dead|cancelled)$"),
        ("destination" = Option<String>, Query, description = "Only events for this destination, for example fee-server"),
        ("event_type" = Option<String>, Query, description = "Only events of this type, for example quote.submitted"),
        ("quote_id" = Option<Uuid>, Query, description = "Only events of this quote"),
        ("error_contains" = Option<String>, Query, description = "Only events whose last error contains this text, ignoring \
            case; without `status` those that are neither delivered nor cancelled. A page reads a few \
            thousand events at most", min_length = 1, max_length = 500),
        ("limit" = Option<u64>, Query, description = "Page size; 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next` value of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 400, description = "Invalid parameter"),
    )
)]
pub(super) async fn list(State(state): State<AppState>, RawQuery(raw): RawQuery) -> Result<Json<EventPage>, Problem> {
    let known = ["status", "destination", "event_type", "quote_id", "error_contains", "limit", "cursor"];
    let mut query = Query::read(raw.as_deref(), &known);
    let filter = EventFilter {
        status: query.status(),
        destination: query.optional("destination", |name| Ok(name.to_owned())),
        event_type: query.optional("event_type", |event_type| Ok(event_type.to_owned())),
        quote_id: query.id("quote_id"),
        error_contains: query.optional("error_contains", |text| parse_text(text, ERROR_LENGTH_MAX)),
        before: query.cursor(),
    };
    let limit = query.limit();
    query.finish()?;
    let Page { rows, next } = inspection::list(state.reads.connection(), &filter, limit).await?;
    let next = next.map(cursor::after);
    let mut page = EventPage { events: Vec::with_capacity(rows.len()), unreadable: Vec::new(), next };
    for found in rows {
        match found {
            Listed::Read(event) => page.events.push(event.into()),
            Listed::Unreadable(id) => page.unreadable.push(id),
        }
    }
    Ok(Json(page))
}
