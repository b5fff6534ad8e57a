//! Cancelling a quote.

use axum::{Extension, Json, extract::State};

use super::{is_owned_now, view};
use crate::{
    http::{
        AppState,
        edge::Call,
        input::Id,
        problem::{Kind, Problem},
        reason::{Acting, Reason},
    },
    operator,
    quotes::{self, CancelError},
};

/// Cancel a quote
///
/// If a fee exists, or may exist, it is voided at the fee server. Cancelling a cancelled quote changes nothing. Submitters
/// cancel only their own quotes. Who cancelled a quote, and why, is in its timeline; a cancellation by an operator is in the
/// log of operator actions, too.
#[utoipa::path(
    post, path = "/v1/quotes/{id}/cancel", operation_id = "cancel_quote", tag = "quotes", security(("token" = [])),
    params(("id" = uuid::Uuid, Path, description = "The quote's id")),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The cancelled quote", body = view::Quote),
        (status = 400, description = "Invalid id or malformed JSON"),
        (status = 404, description = "Unknown quote, or that of another submitter"),
        (status = 409, description = "The quote is rejected, and has no fee to cancel"),
    )
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(call): Extension<Call>,
    Id(id): Id,
    acting: Acting,
) -> Result<Json<view::Quote>, Problem> {
    let trace = call.trace.header();
    let trace = Some(trace.as_str());
    if acting.caller.is_operator() {
        operator::cancel_quote(&state.db, &state.submission, acting.operator(), id, trace).await?;
    } else {
        let cancel = || state.submission.cancel_of(acting.caller.sees_only(), id, acting.reason.as_deref(), trace);
        match cancel().await {
            Err(CancelError::NotFound) if is_owned_now(&state, &acting.caller, id).await? => cancel().await?,
            cancelled => cancelled?,
        };
    }
    state.settled.send();
    let found = quotes::get(state.db.connection(), id).await?.ok_or(CancelError::NotFound)?;
    view::Quote::seen_by(&acting.caller, found).map(Json)
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        let detail = error.to_string();
        match error {
            CancelError::NotFound => Self::new(Kind::NotFound, detail),
            CancelError::Rejected => Self::new(Kind::QuoteRejected, detail),
            CancelError::AlreadyCancelled(_) => Self::new(Kind::WrongState, detail),
            CancelError::Database(error) => error.into(),
        }
    }
}
