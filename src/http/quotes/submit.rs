//! Submitting quotes.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{idempotency::IdempotencyKey, request, view};
use crate::{
    http::{
        AppState,
        access::Caller,
        allowance::Allowance,
        edge::Call,
        input::{JsonBody, RawJson},
        problem::{Kind, Problem},
    },
    quotes::NewQuote,
    submission::{StoredQuotes, SubmissionError},
    telemetry::metrics,
};

const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A destination that is called inside the transaction (`submission.strategy`) may take longer to recover than a database.
const DESTINATION_RETRY_SECONDS: u32 = 5;

/// Submit a quote
///
/// The quote is stored, and its fee follows later. With an `Idempotency-Key` the request can be repeated safely.
#[utoipa::path(
    post, path = "/v1/quotes", operation_id = "submit_quote", tag = "quotes", security(("token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key \
        with the same body gets the same answer; with another body it is refused.", min_length = 1, max_length = 255)),
    request_body = request::NewQuoteBody,
    responses(
        (status = 201, description = "The stored quote", body = view::Quote, headers(
            ("Location" = String, description = "The quote's URL"),
            ("Idempotency-Replayed" = String, description = "`true` if an earlier request with this key stored the quote"),
        )),
        (status = 400, description = "Malformed JSON or invalid header"),
        (status = 409, description = "The first request with this key is still in progress"),
        (status = 422, description = "Invalid body, `errors` lists everything that is wrong; or the key was used with another body"),
        (status = 429, description = "Too many requests, or too many quotes that wait for their fee; see `Retry-After`"),
    )
)]
pub(super) async fn submit(
    State(state): State<AppState>,
    Extension(call): Extension<Call>,
    Extension(caller): Extension<Caller>,
    allowance: Option<Extension<Arc<Allowance>>>,
    _: Admitted,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let new_quote = request::one(&body)?;
    let receipt = store(&state, &call, (&caller, allowance), &[new_quote], IdempotencyKey(key)).await?;
    let replayed = receipt.replayed;
    let quote = receipt.quotes.into_iter().next();
    let quote = quote.ok_or_else(|| Problem::internal("the quote of an idempotency key is missing in the database"))?;
    let location = format!("/v1/quotes/{}", quote.id);
    let mut answer = created(&view::Quote::submitted(quote)?, replayed);
    let location = HeaderValue::try_from(location).map_err(|error| Problem::internal(&error.to_string()))?;
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

/// Submit up to 1000 quotes
///
/// All quotes are stored, or none.
#[utoipa::path(
    post, path = "/v1/quotes:batch", operation_id = "submit_quotes", tag = "quotes", security(("token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "As for a single quote; one key for the whole batch",
        min_length = 1, max_length = 255)),
    request_body = request::NewQuotesBody,
    responses(
        (status = 201, description = "The stored quotes", body = view::Quotes, headers(
            ("Idempotency-Replayed" = String, description = "`true` if an earlier request with this key stored the quotes"),
        )),
        (status = 400, description = "Malformed JSON or invalid header"),
        (status = 409, description = "The first request with this key is still in progress"),
        (status = 413, description = "The body exceeds 8 MiB"),
        (status = 422, description = "Invalid body, `errors` lists everything that is wrong; or the key was used with another body"),
        (status = 429, description = "Too many requests, or too many quotes that wait for their fee; see `Retry-After`"),
    )
)]
pub(super) async fn submit_batch(
    State(state): State<AppState>,
    Extension(call): Extension<Call>,
    Extension(caller): Extension<Caller>,
    allowance: Option<Extension<Arc<Allowance>>>,
    _: Admitted,
    key: IdempotencyKey,
    RawJson(body): RawJson<BATCH_BYTES_MAX>,
) -> Result<Response, Problem> {
    let _turn = body.turn().await;
    let new_quotes = request::batch(body).await?;
    let receipt = store(&state, &call, (&caller, allowance), &new_quotes, key).await?;
    let quotes = receipt.quotes.into_iter().map(view::Quote::submitted).collect::<Result<_, _>>()?;
    Ok(created(&view::Quotes { quotes }, receipt.replayed))
}

/// A call that is not refused at the door, before its body is read.
pub(super) struct Admitted;

impl FromRequestParts<AppState> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        state.admission.check().map(|()| Self)
    }
}

async fn store(
    state: &AppState,
    call: &Call,
    (caller, allowance): (&Caller, Option<Extension<Arc<Allowance>>>),
    new_quotes: &[NewQuote],
    IdempotencyKey(key): IdempotencyKey,
) -> Result<StoredQuotes, Problem> {
    if let Some(Extension(allowance)) = allowance
        && let Err(refused) = allowance.admit(&state.submission, new_quotes.len()).await
    {
        // Who repeats a submission adds nothing, and gets its answer.
        match &key {
            Some(key) if state.submission.has_stored(key).await? => {}
            _ => return Err(refused),
        }
    }
    let _place = state.admission.enter(new_quotes.len()).await?;
    let trace = call.trace.header();
    let receipt =
        state.submission.submit_by(caller.submits_as(), new_quotes, key.as_ref(), Some(trace.clone())).await?;
    if !receipt.replayed {
        metrics::submission_seconds(call.arrived.elapsed(), &trace);
    }
    Ok(receipt)
}

fn created(body: &impl Serialize, replayed: bool) -> Response {
    let mut answer = (StatusCode::CREATED, Json(body)).into_response();
    if replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    answer
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        let detail = error.to_string();
        match error {
            SubmissionError::KeyReused => {
                Self::new(Kind::KeyReused, format!("{detail}; use a new key for a new submission"))
            }
            SubmissionError::KeyInFlight => {
                Self::new(Kind::KeyInFlight, format!("{detail}; retry in a moment")).retry_after_seconds(1)
            }
            SubmissionError::Refused(_) => Self::new(Kind::Refused, detail),
            SubmissionError::Unavailable(_) => {
                let detail = format!("{detail}; nothing was stored, retry later");
                Self::new(Kind::DestinationUnavailable, detail).retry_after_seconds(DESTINATION_RETRY_SECONDS)
            }
            SubmissionError::Database(error) => error.into(),
        }
    }
}
