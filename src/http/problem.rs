//! Error answers: RFC 9457 `application/problem+json`.
//!
//! [`PROBLEM_TYPES`] lists them; their names are stable. The cause of an internal error is logged and never sent.

use std::error::Error;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{FieldError, FieldErrors};
use crate::database;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// All problem types, in Markdown: what clients may rely on.
pub(super) const PROBLEM_TYPES: &str = "\
| `type` | status | when |
| --- | --- | --- |
| `/problems/malformed-json` | 400 | the body is not valid JSON, or an object repeats a key |
| `/problems/invalid-parameter` | 400 | a path or query parameter is unknown or invalid |
| `/problems/invalid-header` | 400 | a header is invalid, for example `Idempotency-Key` |
| `/problems/unauthorized` | 401 | missing or unknown token |
| `/problems/forbidden` | 403 | the token's role does not allow the request, or the request comes from another site's page |
| `/problems/not-found` | 404 | no such resource or route |
| `/problems/method-not-allowed` | 405 | the route does not support this method |
| `/problems/quote-rejected` | 409 | a rejected quote cannot be cancelled |
| `/problems/wrong-state` | 409 | the event's current state does not allow this |
| `/problems/key-in-flight` | 409 | the first request with this `Idempotency-Key` is still in progress |
| `/problems/body-too-large` | 413 | the body exceeds 256 KiB, or 8 MiB for a batch |
| `/problems/unsupported-media-type` | 415 | the body is not sent as `application/json`, or it is compressed |
| `/problems/invalid-body` | 422 | the body is invalid; `errors` lists everything that is wrong |
| `/problems/slow-body` | 408 | the body arrived too slowly |
| `/problems/key-reused` | 422 | this `Idempotency-Key` was used with another body |
| `/problems/refused` | 422 | the submission was refused; nothing was stored |
| `/problems/internal` | 500 | an error in Feebox; the operator finds the cause in the log |
| `/problems/too-large-for-database` | 413 | the database does not accept a statement of this size |
| `/problems/database-unavailable` | 503 | the database is unavailable, read-only or full |
| `/problems/database-busy` | 503 | other transactions held a lock for too long; nothing was stored |
| `/problems/destination-unavailable` | 503 | the destination did not accept the quote, and submissions wait for it (`submission.strategy`) |
| `/problems/overloaded` | 503 | more requests came than can be answered in time; nothing was stored |
| `/problems/not-ready` | 503 | the process is not healthy or not ready; `detail` says why |
| `/problems/timed-out` | 503 | the request timed out |
";

/// A database that restarts needs some seconds.
const DATABASE_RETRY_SECONDS: u32 = 2;

/// A problem type; [`describe`](Self::describe) gives its name, status and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    MalformedJson,
    InvalidParameter,
    InvalidHeader,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    QuoteRejected,
    WrongState,
    KeyInFlight,
    BodyTooLarge,
    TooLargeForDatabase,
    UnsupportedMediaType,
    InvalidBody,
    KeyReused,
    Refused,
    Internal,
    DatabaseUnavailable,
    DatabaseBusy,
    DestinationUnavailable,
    NotReady,
    Overloaded,
    SlowBody,
    TimedOut,
}

/// A problem to answer with.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Cause>,
}

/// The cause of an internal error. It travels with the answer to the middleware that logs it.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub String);

/// RFC 9457 problem.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[schema(example = json!({
    "type": "/problems/invalid-body",
    "title": "Invalid request body",
    "status": 422,
    "detail": "1 error; nothing was stored",
    "errors": [{ "pointer": "/lines/0/quantity", "detail": "is 0; send 1 to 1000000" }],
}))]
pub(super) struct Body {
    /// The problem type: a stable URI reference.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    kind: String,
    /// The problem type in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong, and what to do.
    detail: String,
    /// Everything that is wrong with the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl Kind {
    const fn describe(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => ("malformed-json", S::BAD_REQUEST, "Malformed JSON"),
            Self::InvalidParameter => ("invalid-parameter", S::BAD_REQUEST, "Invalid path or query parameter"),
            Self::InvalidHeader => ("invalid-header", S::BAD_REQUEST, "Invalid header"),
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "Missing or unknown token"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "Not allowed"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::QuoteRejected => ("quote-rejected", S::CONFLICT, "The quote is already rejected"),
            Self::WrongState => ("wrong-state", S::CONFLICT, "The current state does not allow this"),
            Self::KeyInFlight => ("key-in-flight", S::CONFLICT, "A request with this key is in progress"),
            Self::BodyTooLarge => ("body-too-large", S::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::TooLargeForDatabase => {
                ("too-large-for-database", S::PAYLOAD_TOO_LARGE, "Request too large for the database")
            }
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", S::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
            }
            Self::InvalidBody => ("invalid-body", S::UNPROCESSABLE_ENTITY, "Invalid request body"),
            Self::KeyReused => ("key-reused", S::UNPROCESSABLE_ENTITY, "Idempotency key reused with another body"),
            Self::Refused => ("refused", S::UNPROCESSABLE_ENTITY, "Submission refused"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal server error"),
            Self::DatabaseUnavailable => ("database-unavailable", S::SERVICE_UNAVAILABLE, "Database unavailable"),
            Self::DatabaseBusy => ("database-busy", S::SERVICE_UNAVAILABLE, "Database busy"),
            Self::DestinationUnavailable => {
                ("destination-unavailable", S::SERVICE_UNAVAILABLE, "Destination unavailable")
            }
            Self::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "Not ready"),
            Self::Overloaded => ("overloaded", S::SERVICE_UNAVAILABLE, "Overloaded"),
            Self::SlowBody => ("slow-body", S::REQUEST_TIMEOUT, "Request body too slow"),
            Self::TimedOut => ("timed-out", S::SERVICE_UNAVAILABLE, "Request timed out"),
        }
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new(), cause: None }
    }

    /// An internal error. The client does not learn the cause.
    pub fn internal(cause: &str) -> Self {
        let detail = "the cause was logged; if the error persists, send the operator the time and your traceparent";
        Self::new(Kind::Internal, detail).cause(cause)
    }

    /// A body with errors.
    pub fn invalid_body(errors: FieldErrors) -> Self {
        let (errors, total) = errors.into_listed();
        let count = if total == 1 { "1 error".to_owned() } else { format!("{total} errors") };
        let listed =
            if errors.len() < total { format!(", the first {} are listed", errors.len()) } else { String::new() };
        let mut problem = Self::new(Kind::InvalidBody, format!("{count}{listed}; nothing was stored"));
        problem.errors = errors;
        problem
    }

    pub fn retry_after_seconds(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, seconds.into())
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the cause, which is logged and not sent.
    pub fn cause(mut self, cause: &str) -> Self {
        self.cause = Some(Cause(cause.to_owned()));
        self
    }
}

impl From<DbErr> for Problem {
    /// Asks the client to retry only where a retry may succeed.
    fn from(error: DbErr) -> Self {
        use database::Kind as D;
        let cause = chain(&error);
        let advice = "retry the request, a submission with the same Idempotency-Key";
        let (kind, why) = match database::kind(&error) {
            D::Internal => return Self::internal(&cause),
            D::TooLarge => return too_large(&error).cause(&cause),
            D::Unavailable | D::Denied => (Kind::DatabaseUnavailable, "the database is unavailable"),
            D::ReadOnly => (Kind::DatabaseUnavailable, "the database is read-only at the moment"),
            D::Full => (Kind::DatabaseUnavailable, "the database is full, or its disk fails"),
            D::Conflict | D::Busy => (Kind::DatabaseBusy, "other transactions held a lock for too long"),
        };
        Self::new(kind, format!("{why}; {advice}")).retry_after_seconds(DATABASE_RETRY_SECONDS).cause(&cause)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (name, status, title) = self.kind.describe();
        let kind = format!("/problems/{name}");
        let body = Body { kind, title, status: status.as_u16(), detail: self.detail, errors: self.errors };
        let mut answer = (status, Json(body)).into_response();
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        answer.headers_mut().extend(self.headers);
        if let Some(cause) = self.cause {
            answer.extensions_mut().insert(cause);
        }
        answer
    }
}

fn too_large(error: &DbErr) -> Problem {
    let limit = database::too_large(error).map_or_else(String::new, |it| format!(" = {}", it.bytes_max));
    let detail = format!(
        "the request needs a larger statement than the database accepts (max_allowed_packet{limit}); send a smaller \
         request, or ask the database's operator to raise that setting"
    );
    Problem::new(Kind::TooLargeForDatabase, detail)
}

/// The fallback for unknown routes.
pub(super) async fn unknown_route(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no route {}; see /docs for all routes", uri.path()))
}

/// The fallback for methods that a route does not support. The router sets `Allow`.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "this route does not support the method; see the Allow header")
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_type_is_documented() {
        use Kind as K;
        let internal = [K::Internal, K::DestinationUnavailable, K::NotReady, K::Overloaded, K::TimedOut];
        let of_the_database = [K::DatabaseUnavailable, K::DatabaseBusy, K::TooLargeForDatabase];
        let about_the_caller = [K::Unauthorized, K::Forbidden];
        let about_the_route = [K::NotFound, K::MethodNotAllowed, K::InvalidParameter, K::InvalidHeader];
        let about_the_body = [
            K::MalformedJson,
            K::BodyTooLarge,
            K::UnsupportedMediaType,
            K::InvalidBody,
            K::SlowBody,
            K::KeyReused,
            K::Refused,
        ];
        let about_the_state = [K::QuoteRejected, K::WrongState, K::KeyInFlight];
        let all =
            [&internal[..], &of_the_database, &about_the_caller, &about_the_route, &about_the_body, &about_the_state]
                .concat();
        assert_eq!(PROBLEM_TYPES.lines().count() - 2, all.len());
        for kind in all {
            let (name, status, _) = kind.describe();
            let row = format!("| `/problems/{name}` | {} | ", status.as_u16());
            assert!(PROBLEM_TYPES.contains(&row), "{row}");
        }
    }
}
