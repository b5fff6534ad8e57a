//! What is answered instead of what was asked for: RFC 9457 `application/problem+json`.
//!
//! [`SORTS`] lists them. The types are stable. What went wrong on our side is never told, but logged.

use std::error::Error;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{Fault, Faults};
use crate::database;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The sorts of problems, in Markdown: what clients may rely on.
pub(super) const SORTS: &str = "\
| `type` | status | when |
| --- | --- | --- |
| `/problems/malformed-json` | 400 | the body is no JSON, or a key stands twice in an object |
| `/problems/invalid-parameter` | 400 | something in the path or the query string is unknown or unfit |
| `/problems/invalid-header` | 400 | a header is unfit, for example `Idempotency-Key` |
| `/problems/unauthorized` | 401 | no token, or one that nobody has |
| `/problems/forbidden` | 403 | the token's role is too weak, or the call comes from a foreign page |
| `/problems/not-found` | 404 | there is no such thing, or no such route |
| `/problems/method-not-allowed` | 405 | the route takes other methods |
| `/problems/quote-rejected` | 409 | a rejected quote cannot be cancelled |
| `/problems/wrong-state` | 409 | the event does not stand so that this can be done to it |
| `/problems/key-in-flight` | 409 | the first call with this `Idempotency-Key` has not ended |
| `/problems/body-too-large` | 413 | over 256 KiB, or 8 MiB for a batch |
| `/problems/unsupported-media-type` | 415 | the body is not sent as `application/json` |
| `/problems/invalid-body` | 422 | `errors` names every fault of the body |
| `/problems/key-reused` | 422 | this `Idempotency-Key` was used with another body |
| `/problems/refused` | 422 | the submission was refused; nothing is stored |
| `/problems/internal` | 500 | our fault |
| `/problems/too-large-for-database` | 413 | the database takes no statement of that size |
| `/problems/database-unavailable` | 503 | the database is unavailable, read-only or has no room |
| `/problems/database-busy` | 503 | others kept what this call needs for too long; nothing is stored |
| `/problems/destination-unavailable` | 503 | the quote's destination did not take it, and submissions wait for that (`submission.strategy`) |
| `/problems/not-ready` | 503 | what the answer of `/readyz` names is missing |
| `/problems/timed-out` | 503 | the call took too long |
";

/// Soon, but not at once: a database that restarts needs some seconds.
const DATABASE_RETRY_SECONDS: u32 = 2;

/// Sorts of problems: the name in their `type`, their status and their title.
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
    TimedOut,
}

/// A problem, ready to be answered.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Cause>,
}

/// What was behind a problem on our side; travels with the answer to where it is logged.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub String);

/// RFC 9457 problem.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[schema(example = json!({
    "type": "/problems/invalid-body",
    "title": "The body has faults",
    "status": 422,
    "detail": "1 fault; nothing was stored",
    "errors": [{ "pointer": "/lines/0/quantity", "detail": "is 0; send 1 to 1000000" }],
}))]
pub(super) struct Body {
    /// Which sort of problem, as a URI reference that stays the same.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    kind: String,
    /// The sort of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is the matter this time, and what to do.
    detail: String,
    /// Every fault of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Kind {
    const fn describe(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => ("malformed-json", S::BAD_REQUEST, "The body is no proper JSON"),
            Self::InvalidParameter => ("invalid-parameter", S::BAD_REQUEST, "The path or the query string is unfit"),
            Self::InvalidHeader => ("invalid-header", S::BAD_REQUEST, "A header is unfit"),
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "A valid token is needed"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "The caller may not do this"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "The route takes other methods"),
            Self::QuoteRejected => ("quote-rejected", S::CONFLICT, "The quote was rejected"),
            Self::WrongState => ("wrong-state", S::CONFLICT, "It does not stand so that this can be done"),
            Self::KeyInFlight => ("key-in-flight", S::CONFLICT, "The first call with this key is still in flight"),
            Self::BodyTooLarge => ("body-too-large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::TooLargeForDatabase => {
                ("too-large-for-database", S::PAYLOAD_TOO_LARGE, "The database takes no statement of that size")
            }
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", S::UNSUPPORTED_MEDIA_TYPE, "The body is not sent as JSON")
            }
            Self::InvalidBody => ("invalid-body", S::UNPROCESSABLE_ENTITY, "The body has faults"),
            Self::KeyReused => ("key-reused", S::UNPROCESSABLE_ENTITY, "The key was used with another body"),
            Self::Refused => ("refused", S::UNPROCESSABLE_ENTITY, "The submission was refused"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something went wrong on our side"),
            Self::DatabaseUnavailable => {
                ("database-unavailable", S::SERVICE_UNAVAILABLE, "The database is unavailable")
            }
            Self::DatabaseBusy => ("database-busy", S::SERVICE_UNAVAILABLE, "The database is busy"),
            Self::DestinationUnavailable => {
                ("destination-unavailable", S::SERVICE_UNAVAILABLE, "The quote's destination does not answer")
            }
            Self::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "Not ready"),
            Self::TimedOut => ("timed-out", S::SERVICE_UNAVAILABLE, "The call took too long"),
        }
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), headers: Vec::new(), cause: None }
    }

    /// Our fault. The client learns no more than that.
    pub fn internal(cause: &str) -> Self {
        Self::new(Kind::Internal, "this was logged; if it goes on, tell the operator the time and your traceparent")
            .cause(cause)
    }

    /// The body with all its faults.
    pub fn invalid_body(faults: Faults) -> Self {
        let (errors, total) = faults.into_errors();
        let faults = if total == 1 { "1 fault".to_owned() } else { format!("{total} faults") };
        let shown = if errors.len() < total { format!(", of which the first {}", errors.len()) } else { String::new() };
        let mut problem = Self::new(Kind::InvalidBody, format!("{faults}{shown}; nothing was stored"));
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

    /// What to log.
    pub fn cause(mut self, cause: &str) -> Self {
        self.cause = Some(Cause(cause.to_owned()));
        self
    }
}

impl From<DbErr> for Problem {
    /// By what the database says: only what may succeed later is answered as "try again".
    fn from(error: DbErr) -> Self {
        use database::Kind as D;
        let cause = chain(&error);
        let again = "try again, a submission with the same Idempotency-Key";
        let (kind, why) = match database::kind(&error) {
            D::Internal => return Self::internal(&cause),
            D::TooLarge => return too_large(&error).cause(&cause),
            D::Unavailable | D::Denied => (Kind::DatabaseUnavailable, "the database is unavailable"),
            D::ReadOnly => (Kind::DatabaseUnavailable, "the database is read-only at the moment"),
            D::Full => (Kind::DatabaseUnavailable, "the database has no room left, or its disk fails"),
            D::Conflict | D::Busy => (Kind::DatabaseBusy, "other calls kept what this one needs for too long"),
        };
        Self::new(kind, format!("{why}; {again}")).retry_after_seconds(DATABASE_RETRY_SECONDS).cause(&cause)
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
        "the database takes no statement of that size (max_allowed_packet{limit}); send less, or have its operator raise \
         that setting"
    );
    Problem::new(Kind::TooLargeForDatabase, detail)
}

/// For calls that no route takes.
pub(super) async fn unknown_route(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no route {}; /docs shows all", uri.path()))
}

/// For calls by a method that their route does not take. `Allow` is set by the router.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the header Allow names the methods that this route takes")
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
    fn every_sort_is_told_to_clients() {
        use Kind as K;
        let on_our_side = [K::Internal, K::DestinationUnavailable, K::NotReady, K::TimedOut];
        let of_the_database = [K::DatabaseUnavailable, K::DatabaseBusy, K::TooLargeForDatabase];
        let about_the_caller = [K::Unauthorized, K::Forbidden];
        let about_the_route = [K::NotFound, K::MethodNotAllowed, K::InvalidParameter, K::InvalidHeader];
        let about_the_body =
            [K::MalformedJson, K::BodyTooLarge, K::UnsupportedMediaType, K::InvalidBody, K::KeyReused, K::Refused];
        let about_the_state = [K::QuoteRejected, K::WrongState, K::KeyInFlight];
        let all = [
            &on_our_side[..],
            &of_the_database,
            &about_the_caller,
            &about_the_route,
            &about_the_body,
            &about_the_state,
        ]
        .concat();
        assert_eq!(SORTS.lines().count() - 2, all.len());
        for kind in all {
            let (name, status, _) = kind.describe();
            let row = format!("| `/problems/{name}` | {} | ", status.as_u16());
            assert!(SORTS.contains(&row), "{row}");
        }
    }
}
