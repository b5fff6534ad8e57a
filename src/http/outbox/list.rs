//! Listing events.

use axum::{Json, extract::RawQuery};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::filter::{FILTERS, from_query};
use crate::{
    database::{Listed, Page},
    http::{cursor, input::Query, problem::Problem, stale::Reads},
    inspection::{self, EventFilter, EventView, Total},
};

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
    /// How many events match on all pages, counted up to 10,000.
    total: u64,
    /// No more than `total` events match. Otherwise it is as far as the count went.
    total_is_complete: bool,
    /// Read from a replica whose state has what was committed by then; the header `Age` says how long ago that is. Left out if all was
    /// read from the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    as_of: Option<DateTime<Utc>>,
}

/// List events, newest first
///
/// It may come from a replica (`database.replica_url`) and is `Age` seconds old then; `Cache-Control: no-cache` asks for a fresh answer.
#[utoipa::path(
    get, path = "/v1/outbox", operation_id = "list_events", tag = "operations", security(("token" = [])),
    params(
        ("status" = Option<String>, Query, description = "pending, leased, delivered, dead or cancelled",
            pattern = "^(pending|leased|delivered|dead|cancelled)$"),
        ("destination" = Option<String>, Query, description = "Only events for this destination, for example fee-server",
            min_length = 1, max_length = 64),
        ("event_type" = Option<String>, Query, description = "Only events of this type, for example quote.submitted",
            min_length = 1, max_length = 64),
        ("quote_id" = Option<Uuid>, Query, description = "Only events of this quote"),
        ("customer_id" = Option<String>, Query, description = "Only events of this customer's quotes", min_length = 1,
            max_length = 64),
        ("cause" = Option<String>, Query, description = "Only events that failed last for this cause, as /v1/causes \
            returns it; without `status` those that are neither delivered nor cancelled", min_length = 1, max_length = 500),
        ("error_contains" = Option<String>, Query, description = "Only events whose last error contains this text, ignoring \
            case; without `status` those that are neither delivered nor cancelled. A page reads a few \
            thousand events at most", min_length = 1, max_length = 500),
        ("created_after" = Option<String>, Query, description = "Only events stored after this time", format = DateTime),
        ("created_before" = Option<String>, Query, description = "Only events stored before this time", format = DateTime),
        ("settled_after" = Option<String>, Query, description = "Only events settled after this time", format = DateTime),
        ("settled_before" = Option<String>, Query, description = "Only events settled before this time",
            format = DateTime),
        ("limit" = Option<u64>, Query, description = "Page size; 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next` value of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 400, description = "Invalid parameter"),
    )
)]
pub(super) async fn list(Reads { db, as_of }: Reads, RawQuery(raw): RawQuery) -> Result<Json<EventPage>, Problem> {
    let known = [&FILTERS[..], &["limit", "cursor"]].concat();
    let mut query = Query::read(raw.as_deref(), &known);
    let filter = EventFilter { before: query.cursor(), ..from_query(&mut query) };
    let limit = query.limit();
    query.finish()?;
    let connection = db.connection();
    let Page { rows, next } = inspection::list(connection, &filter, limit).await?;
    let Total { events: total, is_complete: total_is_complete } = if filter.before.is_none() && next.is_none() {
        // All of them are on this page.
        Total { events: rows.len() as u64, is_complete: true }
    } else {
        inspection::total(connection, &filter).await?
    };
    let (mut events, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for found in rows {
        match found {
            Listed::Read(event) => events.push(event),
            Listed::Unreadable(id) => unreadable.push(id),
        }
    }
    let events = inspection::views(&db, events).await?;
    Ok(Json(EventPage { events, unreadable, next: next.map(cursor::after), total, total_is_complete, as_of }))
}
