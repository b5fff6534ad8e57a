//! The calls that the server answers.

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Json, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::book::{Made, Stats};
use super::connection::Connection;
use super::faults::Faults;
use super::fee::FeeRequest;
use super::traffic::OpenCall;

pub(super) fn router() -> Router<Connection> {
    Router::new()
        .route("/v1/fees", post(make_fee).get(list_fees))
        .route("/v1/fees/void", post(void_fees))
        .route("/stats", get(stats))
        .route("/healthz", get(async || "ok"))
}

async fn make_fee(
    State(connection): State<Connection>,
    open: OpenCall,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let server = &connection.server;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    server.book.lock().arrive(key);
    let faults = server.injector.faults();
    authorise(&headers, &faults)?;
    if faults.places.is_some_and(|places| open.is_beyond(places)) {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "all places are taken".to_owned()));
    }
    let request = FeeRequest::parse(&body).map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, detail))?;

    let key = key.filter(|_| !faults.no_idempotency).map(str::to_owned);
    let answer = connection.inject(server.injector.next_call(), move |server| {
        // A statement of its own, so that the lock is released before the answer is written.
        let made = server.book.lock().make(key.as_deref(), request, Utc::now());
        match made {
            Made::New(fee) => (StatusCode::CREATED, Json(fee)).into_response(),
            Made::Existing(fee) => Json(fee).into_response(),
            Made::OtherBody => {
                let detail = "the Idempotency-Key was used with another body".to_owned();
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).into_response()
            }
        }
    });
    Ok(answer.await)
}

#[derive(Deserialize)]
struct VoidRequest {
    quote_id: Uuid,
}

async fn void_fees(
    State(connection): State<Connection>,
    _open: OpenCall,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let injector = &connection.server.injector;
    authorise(&headers, &injector.faults())?;
    let VoidRequest { quote_id } = serde_json::from_slice(&body).map_err(Problem::bad_request)?;
    let answer = connection.inject(injector.next_call(), move |server| {
        if server.book.lock().void(quote_id) {
            return StatusCode::NO_CONTENT.into_response();
        }
        Problem::new(StatusCode::NOT_FOUND, "the quote has no fee".to_owned()).into_response()
    });
    Ok(answer.await)
}

#[derive(Deserialize)]
struct Wanted {
    quote_id: Option<Uuid>,
    created_after: Option<DateTime<Utc>>,
    cursor: Option<usize>,
}

async fn list_fees(
    State(connection): State<Connection>,
    _open: OpenCall,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let faults = connection.server.injector.faults();
    authorise(&headers, &faults)?;
    let Query(wanted) = wanted.map_err(Problem::bad_request)?;
    let Some(quote_id) = wanted.quote_id else {
        let (fees, next) = connection.server.book.lock().page(wanted.created_after, wanted.cursor);
        return Ok(Json(json!({ "fees": fees, "next": next.map(|cursor| cursor.to_string()) })).into_response());
    };
    if faults.no_lookup {
        return Err(Problem::new(StatusCode::NOT_FOUND, "this server has no look-up".to_owned()));
    }
    let fees = connection.server.book.lock().of_quote(quote_id);
    Ok(Json(json!({ "fees": fees })).into_response())
}

async fn stats(State(connection): State<Connection>) -> Json<Stats> {
    Json(connection.server.book.lock().stats())
}

fn authorise(headers: &HeaderMap, faults: &Faults) -> Result<(), Problem> {
    let Some(token) = &faults.token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| given.ct_eq(token.expose_secret().as_bytes()).into()) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is required".to_owned()))
}

/// The answer to a call that is meant to fail.
pub(super) fn failure(faults: &Faults) -> Response {
    let mut response = Problem::new(faults.fail_status, "the server was told to fail".to_owned()).into_response();
    if let Some(seconds) = faults.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer to a call that fails after its fee was made.
pub(super) fn failed_after_commit(faults: &Faults) -> Response {
    Problem::new(faults.commit_fail_status, "the server was told to fail after the fee was made".to_owned())
        .into_response()
}

/// An error in the shape of RFC 9457.
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: String) -> Self {
        Self { status, detail }
    }

    fn bad_request(error: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }

    pub fn bug(error: &dyn Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Unknown");
        let body =
            json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl FromRequestParts<Connection> for OpenCall {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, connection: &Connection) -> Result<Self, Self::Rejection> {
        Ok(Arc::clone(&connection.server.traffic).enter())
    }
}
