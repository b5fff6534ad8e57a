//! Error answers: RFC 9457 `application/problem+json`.
//!
//! Their names are stable. The cause of an internal error is logged and never sent.

use std::fmt;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{FieldError, FieldErrors};
use crate::{database, printable::chain};

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A database that restarts needs some seconds.
const DATABASE_RETRY_SECONDS: u32 = 2;

/// Lists the problem types: a name and a status, which are stable, a title, and when it is answered.
macro_rules! problem_types {
    ($($kind:ident: $name:literal, $status:ident, $title:literal, $when:literal;)+) => {
        /// A problem type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $($kind,)+
        }

        impl Kind {
            const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// Its name, status and title, and when it is answered.
            const fn describe(self) -> (&'static str, StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$kind => ($name, StatusCode::$status, $title, $when),)+
                }
            }
        }
    };
}

problem_types! {
    MalformedJson: "malformed-json", BAD_REQUEST, "Malformed JSON",
        "the body is not valid JSON, or an object repeats a key";
    InvalidParameter: "invalid-parameter", BAD_REQUEST, "Invalid path or query parameter",
        "a path or query parameter is unknown or invalid";
    InvalidHeader: "invalid-header", BAD_REQUEST, "Invalid header",
        "a header is invalid, for example `Idempotency-Key`";
    Unauthorized: "unauthorized", UNAUTHORIZED, "Missing or unknown token", "missing or unknown token";
    Forbidden: "forbidden", FORBIDDEN, "Not allowed",
        "the token's role does not allow the request, or the request comes from another site's page";
    NotFound: "not-found", NOT_FOUND, "Not found", "no such resource or route";
    MethodNotAllowed: "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "the route does not support this method";
    QuoteRejected: "quote-rejected", CONFLICT, "The quote is already rejected",
        "a rejected quote cannot be cancelled";
    WrongState: "wrong-state", CONFLICT, "The current state does not allow this",
        "the event's current state does not allow this";
    KeyInFlight: "key-in-flight", CONFLICT, "A request with this key is in progress",
        "the first request with this `Idempotency-Key` is still in progress";
    BodyTooLarge: "body-too-large", PAYLOAD_TOO_LARGE, "Request body too large",
        "the body exceeds 256 KiB, or 8 MiB for a batch";
    SlowBody: "slow-body", REQUEST_TIMEOUT, "Request body too slow", "the body arrived too slowly";
    UnsupportedMediaType: "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "the body is not sent as `application/json`, or it is compressed";
    InvalidBody: "invalid-body", UNPROCESSABLE_ENTITY, "Invalid request body",
        "the body is invalid; `errors` lists everything that is wrong";
    KeyReused: "key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused with another body",
        "this `Idempotency-Key` was used with another body";
    Refused: "refused", UNPROCESSABLE_ENTITY, "Submission refused", "the submission was refused; nothing was stored";
    TooManyRequests: "too-many-requests", TOO_MANY_REQUESTS, "Too many requests",
        "the owners of the token's name made more requests a second than they may";
    TooManyPending: "too-many-pending", TOO_MANY_REQUESTS, "Too many pending quotes",
        "as many of the caller's quotes wait for their fee as may; nothing was stored";
    Internal: "internal", INTERNAL_SERVER_ERROR, "Internal server error",
        "an error in Feebox; the operator finds the cause in the log";
    TooLargeForDatabase: "too-large-for-database", PAYLOAD_TOO_LARGE, "Request too large for the database",
        "the database does not accept a statement of this size";
    DatabaseUnavailable: "database-unavailable", SERVICE_UNAVAILABLE, "Database unavailable",
        "the database is unavailable, read-only or full";
    DatabaseBusy: "database-busy", SERVICE_UNAVAILABLE, "Database busy",
        "other transactions held a lock for too long; nothing was stored";
    DestinationUnavailable: "destination-unavailable", SERVICE_UNAVAILABLE, "Destination unavailable",
        "the destination did not accept the quote, and submissions wait for it (`submission.strategy`)";
    Overloaded: "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "more requests came than can be answered in time; nothing was stored";
    NotReady: "not-ready", SERVICE_UNAVAILABLE, "Not ready",
        "the process is not healthy or not ready; `detail` says why";
    TimedOut: "timed-out", SERVICE_UNAVAILABLE, "Request timed out", "the request timed out";
}

/// All problem types, in Markdown: what clients may rely on.
pub(super) fn problem_types() -> String {
    let row = |kind: Kind| {
        let (name, status, _, when) = kind.describe();
        format!("| `/problems/{name}` | {} | {when} |\n", status.as_u16())
    };
    let head = "| `type` | status | when |\n| --- | --- | --- |\n".to_owned();
    Kind::ALL.into_iter().map(row).fold(head, |table, row| table + &row)
}

/// A page about the problem type `name`, in HTML; without a name, about all of them.
pub(super) fn page(name: &str) -> Option<String> {
    let entry = |kind: Kind| {
        let (name, status, title, when) = kind.describe();
        let (status, when) = (status.as_u16(), when.replace('`', ""));
        format!("<dt><a href=\"/problems/{name}\">{title}</a></dt>\n<dd>Status {status}: {when}.</dd>\n")
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| name.is_empty() || kind.describe().0 == name).collect();
    let title = match kinds[..] {
        [] => return None,
        [kind] => kind.describe().2,
        _ => "Problem types",
    };
    let entries: String = kinds.into_iter().map(entry).collect();
    Some(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Feebox: {title}</title>\n<h1>{title}</h1>\n\
         <dl>\n{entries}</dl>\n<p><a href=\"/problems\">All problem types</a>, <a href=\"/docs/\">all calls</a></p>\n</html>\n"
    ))
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

impl fmt::Display for Problem {
    /// What its client reads, for tests and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ..) = self.kind.describe();
        write!(f, "{name}: {}", self.detail)?;
        self.errors.iter().try_for_each(|error| write!(f, "; {error:?}"))
    }
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
        let (name, status, title, _) = self.kind.describe();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_type_has_a_name_of_its_own() {
        let names = Kind::ALL.map(|kind| kind.describe().0);
        let distinct = std::collections::BTreeSet::from(names);
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| problem_types().contains(&format!("| `/problems/{name}` | "))));
    }
}
