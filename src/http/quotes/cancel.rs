//! Taking a quote back.

use axum::{Extension, Json, extract::State};

use super::view;
use crate::{
    http::{
        AppState,
        access::Caller,
        edge::Call,
        input::{Id, OptionalJsonBody},
        problem::{Kind, Problem},
        reason::{self, Reason},
    },
    operator::{self, Operator},
    quotes,
    submission::CancelError,
};

/// Cancel a quote
///
/// If a fee exists, or may exist, it is voided at the fee server. Cancelling twice is one cancellation. An operator's is
/// written to the log of actions.
#[utoipa::path(
    post, path = "/v1/quotes/{id}/cancel", operation_id = "cancel_quote", tag = "quotes", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "Its id")),
    request_body = Option<Reason>,
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
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<view::Quote>, Problem> {
    let reason = reason::read(body.as_ref())?;
    let (reason, trace) = (reason.as_deref(), Some(call.trace.header()));
    if caller.is_operator() {
        let operator = Operator { name: &caller.name, reason };
        operator::cancel_quote(&state.db, &state.submission, operator, id, trace).await?;
    } else {
        state.submission.cancel(id, reason, trace).await?;
    }
    state.settled.send();
    let found = quotes::get(state.db.connection(), id).await?.ok_or(CancelError::NotFound)?;
    view::Quote::with_fee(found).map(Json)
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        let detail = error.to_string();
        match error {
            CancelError::NotFound => Self::new(Kind::NotFound, detail),
            CancelError::Rejected => Self::new(Kind::QuoteRejected, detail),
            CancelError::Before(_) => Self::new(Kind::WrongState, detail),
            CancelError::Database(error) => error.into(),
        }
    }
}
