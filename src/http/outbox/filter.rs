//! The filters of the list of events, in a query or in a body.

use chrono::{DateTime, Utc};
use sea_orm::ActiveEnum;
use uuid::Uuid;

use crate::{
    http::input::{FieldErrors, Object, Query},
    inspection::EventFilter,
    outbox::EventStatus,
    quotes::{CustomerId, new_quote::parse_text},
};

/// Most characters of a name to filter by.
const NAME_LENGTH_MAX: usize = 64;
/// Most characters of a cause or of an error's text to filter by.
const TEXT_LENGTH_MAX: usize = 500;

/// The names of the filters.
pub(super) const FILTERS: [&str; 11] = [
    "status",
    "destination",
    "event_type",
    "quote_id",
    "customer_id",
    "cause",
    "error_contains",
    "created_after",
    "created_before",
    "settled_after",
    "settled_before",
];

/// Reads the filters of a query.
pub(super) fn from_query(query: &mut Query) -> EventFilter {
    EventFilter {
        status: query.status(),
        destination: query.optional("destination", name),
        event_type: query.optional("event_type", name),
        quote_id: query.id("quote_id"),
        customer_id: query.optional("customer_id", customer),
        cause: query.optional("cause", text),
        error_contains: query.optional("error_contains", text),
        created_after: query.time("created_after"),
        created_before: query.time("created_before"),
        settled_after: query.time("settled_after"),
        settled_before: query.time("settled_before"),
        before: None,
    }
}

/// Reads the filters among the fields of a body, but for the status: which ones are allowed differs.
pub(super) fn from_body(body: &Object<'_>, errors: &mut FieldErrors) -> EventFilter {
    let quote_id = body.optional("quote_id").and_then(|node| node.text(id, errors));
    let mut read = |field, parse: fn(&str) -> Result<String, String>| body.optional(field)?.text(parse, errors);
    let destination = read("destination", name);
    let event_type = read("event_type", name);
    let customer_id = read("customer_id", customer);
    let cause = read("cause", text);
    let error_contains = read("error_contains", text);
    let mut at = |field| body.optional(field)?.text(time, errors);
    EventFilter {
        created_after: at("created_after"),
        created_before: at("created_before"),
        settled_after: at("settled_after"),
        settled_before: at("settled_before"),
        status: None,
        destination,
        event_type,
        quote_id,
        customer_id,
        cause,
        error_contains,
        before: None,
    }
}

/// A UUID.
pub(super) fn id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| format!("is {text:?}; send a UUID"))
}

/// One of these statuses.
pub(super) fn one_of(statuses: &[EventStatus], text: &str) -> Result<EventStatus, String> {
    let found = statuses.iter().find(|status| status.to_value() == text).copied();
    found.ok_or_else(|| {
        let known: Vec<_> = statuses.iter().map(ActiveEnum::to_value).collect();
        format!("is {text:?}; send {}", known.join(" or "))
    })
}

fn name(name: &str) -> Result<String, String> {
    parse_text(name, NAME_LENGTH_MAX)
}

fn text(text: &str) -> Result<String, String> {
    parse_text(text, TEXT_LENGTH_MAX)
}

fn customer(id: &str) -> Result<String, String> {
    Ok(CustomerId::parse(id)?.as_str().to_owned())
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    crate::http::input::time(text)
}
