//! Pausing, resuming and limiting deliveries.

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
};
use chrono::TimeDelta;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::{Caller, Permission},
    guarded,
    input::{FieldErrors, JsonBody, Name, Node, Query},
    problem::Problem,
    reason::{Acting, Reason},
};
use crate::{
    inspection::{self, Openings},
    operator::{self, Operator, parse_reason},
    outbox::{DestinationState, LimitChange, LimitsChange, OPENINGS_KEPT_FOR},
    quotes::new_quote::parse_text,
};

/// The largest limit.
const LIMIT_MAX: u32 = 1_000_000;
/// Openings of circuits are shown for so many days, unless `days` says otherwise.
const DAYS_DEFAULT: u64 = 7;

/// Limits of the whole fleet. Null takes a limit away; one that is left out stays.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `limit` reads")]
struct LimitsRequest {
    /// Calls that begin a second.
    #[schema(minimum = 1, maximum = 1_000_000, example = 50)]
    per_second: Option<u32>,
    /// Calls in flight.
    #[schema(minimum = 1, maximum = 1_000_000, example = 20)]
    in_flight: Option<u32>,
    /// The reason, for the log of operator actions.
    #[schema(min_length = 1, max_length = 500, example = "the fee server is being repaired")]
    reason: String,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let routes = OpenApiRouter::new().routes(routes!(pause)).routes(routes!(resume)).routes(routes!(limit));
    let read = OpenApiRouter::new().routes(routes!(openings));
    guarded(routes, Permission::Operate, TIME_LIMIT).merge(guarded(read, Permission::ReadAll, TIME_LIMIT))
}

/// List when circuits were open
///
/// They are kept for 90 days, or for as long as settled events if that is longer.
#[utoipa::path(
    get, path = "/v1/circuit-openings", operation_id = "list_circuit_openings", tag = "operations",
    security(("token" = [])),
    params(
        ("destination" = Option<String>, Query, description = "Only this destination, or topic (kafka/feebox.quotes)",
            min_length = 1, max_length = 64),
        ("days" = Option<u32>, Query, description = "How far back; 7 by default", minimum = 1, maximum = 90),
        ("limit" = Option<u32>, Query, description = "At most so many, the newest ones; 50 by default", minimum = 1,
            maximum = 200),
    ),
    responses(
        (status = 200, description = "The openings, the newest first", body = Openings),
        (status = 400, description = "Invalid parameter"),
    )
)]
async fn openings(State(state): State<AppState>, RawQuery(raw): RawQuery) -> Result<Json<Openings>, Problem> {
    let mut query = Query::read(raw.as_deref(), &["destination", "days", "limit"]);
    let destination = query.optional("destination", |name| parse_text(name, 64));
    let days = query.number("days", 1, OPENINGS_KEPT_FOR.num_days().unsigned_abs());
    let limit = query.limit();
    query.finish()?;
    let since = TimeDelta::days(i64::try_from(days.unwrap_or(DAYS_DEFAULT)).unwrap_or_default());
    Ok(Json(inspection::openings(&state.reads, destination.as_deref(), since, limit).await?))
}

/// Pause deliveries to a destination
///
/// The pause applies to the whole fleet. Deliveries that are in progress are finished. Pausing a paused destination
/// changes nothing.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/pause", operation_id = "pause_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "The destination's name, for example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination after the change", body = DestinationState),
        (status = 400, description = "Malformed JSON"),
        (status = 404, description = "Unknown destination"),
    )
)]
async fn pause(
    State(state): State<AppState>,
    Name(name): Name,
    acting: Acting,
) -> Result<Json<DestinationState>, Problem> {
    Ok(Json(operator::pause(&state.db, acting.operator(), &name).await?))
}

/// Resume deliveries to a destination
///
/// Resuming a destination that is not paused changes nothing.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/resume", operation_id = "resume_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "The destination's name, for example fee-server")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The destination after the change", body = DestinationState),
        (status = 400, description = "Malformed JSON"),
        (status = 404, description = "Unknown destination"),
    )
)]
async fn resume(
    State(state): State<AppState>,
    Name(name): Name,
    acting: Acting,
) -> Result<Json<DestinationState>, Problem> {
    let destination = operator::resume(&state.db, acting.operator(), &name).await?;
    state.wakeup.wake();
    Ok(Json(destination))
}

/// Limit the calls to a destination
///
/// The limits apply to the whole fleet and hold within a second. An attempt counts as one call; one that its worker left counts as in
/// flight until its lease ends.
#[utoipa::path(
    post, path = "/v1/destinations/{name}/limits", operation_id = "limit_destination", tag = "operations",
    security(("token" = [])),
    params(("name" = String, Path, description = "The destination's name, for example fee-server")),
    request_body = LimitsRequest,
    responses(
        (status = 200, description = "The destination after the change", body = DestinationState),
        (status = 400, description = "Malformed JSON"),
        (status = 404, description = "Unknown destination"),
    )
)]
async fn limit(
    State(state): State<AppState>,
    Name(name): Name,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody,
) -> Result<Json<DestinationState>, Problem> {
    let mut errors = FieldErrors::default();
    let root = Node::root(&body);
    let read = root.object(&["per_second", "in_flight", "reason"], &mut errors).and_then(|body| {
        let change = LimitsChange {
            per_second: change_of(body.optional("per_second"), &mut errors),
            in_flight: change_of(body.optional("in_flight"), &mut errors),
        };
        Some((change, body.field("reason").text(parse_reason, &mut errors)?))
    });
    let (change, reason) = errors.or_read(read)?;
    let operator = Operator { name: &caller.name, reason: Some(&reason) };
    let destination = operator::limit(&state.db, operator, &name, change).await?;
    state.wakeup.wake();
    Ok(Json(destination))
}

fn change_of(node: Option<Node<'_>>, errors: &mut FieldErrors) -> LimitChange {
    match node {
        None => LimitChange::Keep,
        Some(node) if node.is_null() => LimitChange::Remove,
        Some(node) => node.integer(whole, errors).map_or(LimitChange::Keep, LimitChange::Set),
    }
}

fn whole(number: i64) -> Result<u32, String> {
    let limit = u32::try_from(number).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("is {number}; send 1 to {LIMIT_MAX}, or null for no limit"))
}
