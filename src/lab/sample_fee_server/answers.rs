//! Bad answers: values that cannot be stored, pages from something in between, cut answers.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::whole_seconds;

/// The longest answer of this server, in bytes.
const ANSWER_LENGTH_MAX: usize = 64 * 1024;

/// A value that makes a fee unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    NulInId,
    GosZeroTime,
    Year10000,
    OtherQuote,
    OtherCurrency,
    NegativeAmount,
}

/// A page from something in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    NotFound,
    Ok,
    Redirect,
    Maintenance,
    Forbidden,
}

/// How an answer is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Without a length, the end of the connection ends the answer.
    WithoutLength,
    LastByteMissing,
    /// As long as announced, but its JSON is incomplete.
    LengthMatches,
}

impl Poison {
    pub const ALL: [Self; 6] = [
        Self::NulInId,
        Self::GosZeroTime,
        Self::Year10000,
        Self::OtherQuote,
        Self::OtherCurrency,
        Self::NegativeAmount,
    ];

    fn spoil(self, fee: &mut Value) {
        let (field, value) = match self {
            Self::NulInId => ("fee_id", json!("fee\0id")),
            Self::GosZeroTime => ("calculated_at", json!("0001-01-01T00:00:00Z")),
            Self::Year10000 => ("calculated_at", json!("10000-01-01T00:00:00Z")),
            Self::OtherQuote => ("quote_id", json!(Uuid::now_v7())),
            Self::OtherCurrency => ("currency", json!("XTS")),
            Self::NegativeAmount => ("amount_minor", json!(-1)),
        };
        fee[field] = value;
    }
}

impl Page {
    /// Pages of an ingress or of maintenance; [`Page::Forbidden`] has a rate of its own.
    pub const ALL: [Self; 4] = [Self::NotFound, Self::Ok, Self::Redirect, Self::Maintenance];

    pub fn answer(self) -> Response {
        let status = match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Ok => StatusCode::OK,
            Self::Redirect => StatusCode::FOUND,
            Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
            Self::Forbidden => StatusCode::FORBIDDEN,
        };
        let html = format!("<html><body><h1>{status}</h1><hr>nginx</body></html>");
        let mut response = (status, [(CONTENT_TYPE, "text/html")], html).into_response();
        if self == Self::Redirect {
            response.headers_mut().insert(LOCATION, axum::http::HeaderValue::from_static("/maintenance"));
        }
        response
    }
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::WithoutLength, Self::LastByteMissing, Self::LengthMatches];

    /// The bytes that are sent of `answer`, with its head, before the connection ends.
    pub async fn bytes(self, answer: Response) -> Vec<u8> {
        let status = answer.status();
        let body = whole(answer).await;
        let (length, part) = match self {
            Self::WithoutLength => (None, body.len() / 2),
            Self::LastByteMissing => (Some(body.len()), body.len().saturating_sub(1)),
            Self::LengthMatches => (Some(body.len() / 2), body.len() / 2),
        };
        let length = length.map(|length| format!("content-length: {length}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{length}\r\n");
        [head.as_bytes(), &body[..part]].concat()
    }
}

/// Makes the fee in `answer` unusable; an answer without a fee stays as it is.
pub(super) async fn poisoned(answer: Response, poison: Poison) -> Response {
    let status = answer.status();
    if !status.is_success() {
        return answer;
    }
    match serde_json::from_slice::<Value>(&whole(answer).await) {
        Ok(mut fee) if fee.is_object() => {
            poison.spoil(&mut fee);
            (status, axum::Json(fee)).into_response()
        }
        _ => status.into_response(),
    }
}

/// Sends the second half of `answer` after `pause`.
pub(super) async fn slow(answer: Response, pause: Duration) -> Response {
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_LENGTH_MAX).await.unwrap_or_default();
    let length = body.len();
    let halves = [(Duration::ZERO, body.slice(..length / 2)), (pause, body.slice(length / 2..))];
    let body = stream::unfold(halves.into_iter(), async |mut halves| {
        let (wait, half): (Duration, Bytes) = halves.next()?;
        tokio::time::sleep(wait).await;
        Some((Ok::<_, Infallible>(half), halves))
    });
    let mut response = Response::from_parts(parts, Body::from_stream(body));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// The answer to a call in a storm that lasts for another `left`.
pub(super) fn refused_by_storm(left: Duration) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, whole_seconds(left).to_string())]).into_response()
}

async fn whole(answer: Response) -> Bytes {
    axum::body::to_bytes(answer.into_body(), ANSWER_LENGTH_MAX).await.unwrap_or_default()
}
