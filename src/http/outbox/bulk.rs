//! Retrying or cancelling many events.

use std::time::Duration;

use axum::{Extension, Json, extract::State};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::filter::{self, FILTERS};
use crate::{
    http::{
        AppState,
        access::Caller,
        input::{FieldErrors, Id, JsonBody, Node, Object},
        problem::Problem,
        reason::{Acting, Reason, reason},
    },
    inspection::EventFilter,
    operator::{
        BulkView, NewBulk, Operator, Which,
        bulk::{self, IDS_MAX, Kind},
    },
    outbox::EventStatus,
};

/// How long a request waits for the end of its bulk.
const WAIT: Duration = Duration::from_secs(5);

/// Which events, and how. Either the filters of the list with a `status`, or `ids`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `read` reads")]
pub(super) struct BulkRequest {
    /// `dead` or `pending`; for a cancellation also `leased`. Required unless `ids` is sent.
    #[schema(pattern = "^(dead|pending|leased)$", nullable = false, example = "dead")]
    status: Option<String>,
    /// These events instead of filters.
    #[schema(min_items = 1, max_items = 5000, nullable = false)]
    ids: Option<Vec<Uuid>>,
    /// Only events for this destination.
    #[schema(min_length = 1, max_length = 64, nullable = false, example = "fee-server")]
    destination: Option<String>,
    /// Only events of this type.
    #[schema(min_length = 1, max_length = 64, nullable = false, example = "quote.submitted")]
    event_type: Option<String>,
    /// Only events of this quote.
    #[schema(nullable = false)]
    quote_id: Option<Uuid>,
    /// Only events of this customer's quotes.
    #[schema(min_length = 1, max_length = 64, nullable = false)]
    customer_id: Option<String>,
    /// Only events that failed last for this cause.
    #[schema(min_length = 1, max_length = 500, nullable = false)]
    cause: Option<String>,
    /// Only events whose last error contains this text, ignoring case.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "connection refused")]
    error_contains: Option<String>,
    /// Only events stored after this time.
    #[schema(format = DateTime, nullable = false)]
    created_after: Option<String>,
    /// Only events stored before this time.
    #[schema(format = DateTime, nullable = false)]
    created_before: Option<String>,
    /// Only events settled after this time.
    #[schema(format = DateTime, nullable = false)]
    settled_after: Option<String>,
    /// Only events settled before this time.
    #[schema(format = DateTime, nullable = false)]
    settled_before: Option<String>,
    /// The reason, for the log of operator actions.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "the fee server is fixed")]
    reason: Option<String>,
    /// Only count the events that match.
    #[schema(nullable = false, example = false)]
    dry_run: Option<bool>,
    /// At most this many events each second.
    #[schema(minimum = 1, maximum = 1_000_000, nullable = false, example = 50)]
    per_second: Option<i64>,
}

/// Retry many events
///
/// The answer comes after at most 5 seconds; `GET /v1/bulk/{id}` shows the progress of what is not finished by then. A worker goes on
/// with a retry whose process has died.
#[utoipa::path(
    post, path = "/v1/outbox:retry", operation_id = "retry_events", tag = "operations", security(("token" = [])),
    request_body = BulkRequest,
    responses(
        (status = 200, description = "How many events matched and were revived so far", body = BulkView),
        (status = 400, description = "Malformed JSON"),
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody,
) -> Result<Json<BulkView>, Problem> {
    begin(state, caller, &body, Kind::Retry).await
}

/// Cancel many events
///
/// As `/v1/outbox:retry`. Each event is cancelled together with the quote whose fee it would have brought.
#[utoipa::path(
    post, path = "/v1/outbox:cancel", operation_id = "cancel_events", tag = "operations", security(("token" = [])),
    request_body = BulkRequest,
    responses(
        (status = 200, description = "How many events matched and were cancelled so far", body = BulkView),
        (status = 400, description = "Malformed JSON"),
    )
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody,
) -> Result<Json<BulkView>, Problem> {
    begin(state, caller, &body, Kind::Cancel).await
}

/// Show how far a bulk retry or cancellation is
#[utoipa::path(
    get, path = "/v1/bulk/{id}", operation_id = "read_bulk", tag = "operations", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The bulk's id")),
    responses(
        (status = 200, description = "Its progress", body = BulkView),
        (status = 400, description = "Invalid id"),
        (status = 404, description = "Unknown bulk"),
    )
)]
pub(super) async fn show(State(state): State<AppState>, Id(id): Id) -> Result<Json<BulkView>, Problem> {
    Ok(Json(bulk::get(&state.reads, id).await?))
}

/// Stop a bulk retry or cancellation
///
/// What was changed stays changed.
#[utoipa::path(
    post, path = "/v1/bulk/{id}/abort", operation_id = "abort_bulk", tag = "operations", security(("token" = [])),
    params(("id" = Uuid, Path, description = "The bulk's id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "How far it came", body = BulkView),
        (status = 400, description = "Invalid id or malformed JSON"),
        (status = 404, description = "Unknown bulk"),
        (status = 409, description = "The bulk is over already"),
    )
)]
pub(super) async fn abort(
    State(state): State<AppState>,
    Id(id): Id,
    acting: Acting,
) -> Result<Json<BulkView>, Problem> {
    Ok(Json(bulk::abort(&state.db, acting.operator(), id).await?))
}

async fn begin(state: AppState, caller: Caller, body: &Value, kind: Kind) -> Result<Json<BulkView>, Problem> {
    let Request { new, dry_run, reason } = read(body, kind)?;
    let operator = Operator { name: &caller.name, reason: reason.as_deref() };
    if dry_run {
        return Ok(Json(bulk::dry_run(&state.reads, operator, &new).await?));
    }
    let id = bulk::begin(&state.db, operator, &new).await?;
    let (own, wakeup, settled) = (state.db.clone(), state.wakeup.clone(), state.settled.clone());
    let relay = state.submission.relay();
    // It outlives the request, also if the client hangs up.
    let working = tokio::spawn(async move {
        let changed = || {
            wakeup.wake();
            settled.send();
        };
        if let Err(error) = bulk::work(&own, relay, id, changed).await {
            tracing::warn!(bulk_id = %id, %error, "a bulk was interrupted; a worker goes on with it");
        }
    });
    let _ = tokio::time::timeout(WAIT, working).await;
    Ok(Json(bulk::get(&state.db, id).await?))
}

struct Request {
    new: NewBulk,
    dry_run: bool,
    reason: Option<String>,
}

fn read(body: &Value, kind: Kind) -> Result<Request, Problem> {
    let mut errors = FieldErrors::default();
    let root = Node::root(body);
    let known = [&FILTERS[..], &["ids", "reason", "dry_run", "per_second"]].concat();
    let request = root.object(&known, &mut errors).and_then(|body| request(&body, kind, &mut errors));
    errors.or_read(request)
}

fn request(body: &Object<'_>, kind: Kind, errors: &mut FieldErrors) -> Option<Request> {
    let reason = reason(body.optional("reason"), errors);
    let dry_run = body.optional("dry_run").and_then(|node| node.boolean(errors)).unwrap_or(false);
    let per_second = body.optional("per_second").and_then(|node| node.integer(per_second, errors));
    let which = if let Some(ids) = body.optional("ids") {
        for name in FILTERS {
            if let Some(node) = body.optional(name) {
                node.parsed::<()>(Err("is sent together with ids; send one of them".into()), errors);
            }
        }
        let id = |node: &Node<'_>, errors: &mut FieldErrors| node.text(filter::id, errors);
        Which::Ids(ids.list(1..=IDS_MAX, id, errors)?)
    } else {
        let may_be: &[_] = match kind {
            Kind::Retry => &[EventStatus::Dead, EventStatus::Pending],
            Kind::Cancel => &[EventStatus::Dead, EventStatus::Pending, EventStatus::Leased],
        };
        let status = body.field("status").text(|text| filter::one_of(may_be, text), errors);
        let filter = filter::from_body(body, errors);
        Which::Matching(Box::new(EventFilter { status: Some(status?), ..filter }))
    };
    Some(Request { new: NewBulk { kind, which, per_second }, dry_run, reason })
}

fn per_second(number: i64) -> Result<u32, String> {
    let per_second = u32::try_from(number).ok().filter(|number| (1..=1_000_000).contains(number));
    per_second.ok_or_else(|| format!("is {number}; send 1 to 1000000"))
}
