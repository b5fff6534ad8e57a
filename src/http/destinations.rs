//! Pausing, resuming and limiting deliveries.

use axum::{Extension, Json, extract::State};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::{Caller, Permission},
    guarded,
    input::{FieldErrors, JsonBody, Name, Node},
    problem::Problem,
    reason::{Acting, Reason},
};
use crate::{
    operator::{self, Operator, parse_reason},
    outbox::{DestinationState, LimitChange, LimitsChange},
};

/// The largest limit.
const LIMIT_MAX: u32 = 1_000_000;

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
    guarded(routes, Permission::Operate, TIME_LIMIT)
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
