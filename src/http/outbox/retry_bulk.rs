//! Bulk retry of events.

use std::num::NonZeroU32;

use axum::{Extension, Json, extract::State};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        AppState,
        access::Caller,
        input::{FieldErrors, JsonBody, Node, Object},
        problem::Problem,
        reason::reason,
    },
    operator::{self, BulkRetried, BulkRetry, Operator},
    outbox::{RetryFilter, Revivable},
    quotes::new_quote::parse_text,
};

const FIELDS: [&str; 7] = ["status", "destination", "event_type", "error_contains", "reason", "dry_run", "per_second"];
/// Most characters of a name to filter by.
const NAME_LENGTH_MAX: usize = 64;
/// Most characters of an error's text to filter by.
const ERROR_LENGTH_MAX: usize = 500;

/// Which events to retry, and how.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `bulk` reads")]
pub(super) struct EventsToRetry {
    /// `dead` events become pending again; `pending` events that are due later become due now.
    #[schema(pattern = "^(dead|pending)$", example = "dead")]
    status: String,
    /// Only events for this destination.
    #[schema(min_length = 1, max_length = 64, nullable = false, example = "fee-server")]
    destination: Option<String>,
    /// Only events of this type.
    #[schema(min_length = 1, max_length = 64, nullable = false, example = "quote.submitted")]
    event_type: Option<String>,
    /// Only events whose last error contains this text, ignoring case.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "connection refused")]
    error_contains: Option<String>,
    /// The reason, for the log of operator actions.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "the fee server is fixed")]
    reason: Option<String>,
    /// Only count the events that match.
    #[schema(nullable = false, example = false)]
    dry_run: Option<bool>,
    /// Spread the retries: at most this many events become due each second.
    #[schema(minimum = 1, maximum = 1_000_000, nullable = false, example = 50)]
    per_second: Option<i64>,
}

/// Retry many events
///
/// The retry works in batches. If it is interrupted, finished batches stay done, and a repeated request continues with the
/// rest.
#[utoipa::path(
    post, path = "/v1/outbox:retry", operation_id = "retry_events", tag = "operations", security(("token" = [])),
    request_body = EventsToRetry,
    responses(
        (status = 200, description = "How many events matched and were revived", body = BulkRetried),
        (status = 400, description = "Malformed JSON"),
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody,
) -> Result<Json<BulkRetried>, Problem> {
    let (bulk, reason) = read(&body)?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    let retried = operator::retry_bulk(&state.db, operator, &bulk).await?;
    state.wakeup.wake();
    Ok(Json(retried))
}

fn read(body: &Value) -> Result<(BulkRetry, Option<String>), Problem> {
    let mut errors = FieldErrors::default();
    let root = Node::root(body);
    let read = root.object(&FIELDS, &mut errors).and_then(|body| {
        let reason = reason(body.optional("reason"), &mut errors);
        bulk(&body, &mut errors).map(|bulk| (bulk, reason))
    });
    errors.or_read(read)
}

fn bulk(body: &Object<'_>, errors: &mut FieldErrors) -> Option<BulkRetry> {
    let status = body.field("status").text(status, errors);
    let mut text = |name, length_max| body.optional(name)?.text(|text| parse_text(text, length_max), errors);
    let destination = text("destination", NAME_LENGTH_MAX);
    let event_type = text("event_type", NAME_LENGTH_MAX);
    let error_contains = text("error_contains", ERROR_LENGTH_MAX);
    let dry_run = body.optional("dry_run").and_then(|node| node.boolean(errors)).unwrap_or(false);
    let per_second = body.optional("per_second").and_then(|node| node.integer(per_second, errors));
    let filter = RetryFilter { status: status?, destination, event_type, error_contains };
    Some(BulkRetry { filter, dry_run, per_second })
}

fn status(text: &str) -> Result<Revivable, String> {
    match text {
        "dead" => Ok(Revivable::Dead),
        "pending" => Ok(Revivable::Pending),
        other => Err(format!("is {other:?}; send dead or pending")),
    }
}

fn per_second(number: i64) -> Result<NonZeroU32, String> {
    let per_second = u32::try_from(number).ok().filter(|number| *number <= 1_000_000).and_then(NonZeroU32::new);
    per_second.ok_or_else(|| format!("is {number}; send 1 to 1000000"))
}
