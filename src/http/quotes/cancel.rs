//! Taking a quote back.

use axum::{Extension, Json, extract::State};
use serde_json::Value;
use utoipa::ToSchema;

use super::view;
use crate::{
    http::{
        AppState,
        edge::Call,
        input::{Faults, Id, Node, OptionalJsonBody},
        problem::{Kind, Problem},
    },
    quotes,
    submission::{CancelError, new_quote::printable},
};

/// Most characters of a reason.
const REASON_LENGTH_MAX: usize = 500;

/// Why a quote is taken back.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `reason` reads")]
pub(super) struct Cancellation {
    /// What its readers are to know.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "ordered twice")]
    reason: Option<String>,
}

/// Cancel a quote
///
/// If a fee exists, or may exist, it is voided at the fee server. Cancelling twice is one cancellation.
#[utoipa::path(
    post, path = "/v1/quotes/{id}/cancel", operation_id = "cancel_quote", tag = "quotes", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "Its id")),
    request_body = Option<Cancellation>,
    responses(
        (status = 200, description = "It is cancelled", body = view::Quote),
        (status = 400, description = "An unfit id, or no JSON"),
        (status = 404, description = "There is no such quote"),
        (status = 409, description = "It was rejected: there is nothing to take back"),
        (status = 413, description = "Over 256 KiB"),
        (status = 415, description = "Not sent as `application/json`"),
        (status = 422, description = "`errors` names every fault of the body"),
    )
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(call): Extension<Call>,
    Id(id): Id,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<view::Quote>, Problem> {
    let reason = reason(body.as_ref())?;
    state.submission.cancel(id, reason.as_deref(), Some(call.trace.header())).await?;
    state.settled.notify_waiters();
    let found = quotes::get(state.db.connection(), id).await?.ok_or(CancelError::NotFound)?;
    view::Quote::with_fee(found).map(Json)
}

fn reason(body: Option<&Value>) -> Result<Option<String>, Problem> {
    let Some(body) = body else {
        return Ok(None);
    };
    let mut faults = Faults::default();
    let root = Node::root(body);
    let reason = root.object(&["reason"], &mut faults).map(|body| {
        let reason = body.optional("reason")?;
        reason.text(|text| printable(text, REASON_LENGTH_MAX), &mut faults)
    });
    faults.or_whole(reason)
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        let detail = error.to_string();
        match error {
            CancelError::NotFound => Self::new(Kind::NotFound, detail),
            CancelError::Rejected => Self::new(Kind::QuoteRejected, detail),
            CancelError::Database(error) => error.into(),
        }
    }
}
