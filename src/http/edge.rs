//! Middleware of every request: tracing, the time limit, security headers, and the one place that logs internal errors.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::{Instrument, Span};

use super::{
    access::Caller,
    problem::{Cause, Kind, Problem},
    upload::Upload,
};
use crate::telemetry::{self, ACCESS, TraceContext, metrics, milliseconds};

/// A request's trace and arrival time. Handlers find it in the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The caller's place in its trace, or the root of a new one.
    pub trace: TraceContext,
    /// When the request arrived.
    pub arrived: Instant,
}

/// Routes that machines call every few seconds: their requests are logged at `trace` only.
const QUIET: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Whether `path` is such a route.
pub(super) fn is_quiet(path: &str) -> bool {
    QUIET.contains(&path)
}

/// Replaces `%3A` in the path by the colon that it stands for: generated clients send `/v1/quotes%3Abatch`, and the router
/// compares what was sent (RFC 3986, 2.4).
pub(super) fn with_plain_colons(uri: &mut Uri) {
    if !uri.path().contains("%3") {
        return;
    }
    let path = uri.path().replace("%3A", ":").replace("%3a", ":");
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{path}{query}").parse().ok();
    if let Ok(plain) = Uri::from_parts(parts) {
        *uri = plain;
    }
}

/// For all answers but the pages, which set their own policy.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Starts the request's trace and span, and logs its outcome.
pub(super) async fn observe(mut request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let (mut recorded, trace) = recorded(&request, header);
    let span = span(&request, trace.trace_id());
    let arrived = Instant::now();
    let access = Access { method: request.method().clone(), route: request.extensions().get().cloned() };
    let own_trace = trace.clone();
    request.extensions_mut().insert(Call { trace, arrived });
    async {
        let mut answer = next(request).await;
        let (status, took_ms) = (answer.status().as_u16(), milliseconds(arrived.elapsed()));
        access.note(&answer, took_ms, &own_trace);
        access.note_in(&mut recorded, answer.status());
        match answer.extensions_mut().remove::<Cause>() {
            Some(Cause(cause)) => tracing::error!(status, took_ms, cause, "request failed"),
            None if Span::current().metadata().is_some_and(|span| *span.level() == tracing::Level::TRACE) => {
                tracing::trace!(status, took_ms, "request answered");
            }
            None => tracing::debug!(status, took_ms, "request answered"),
        }
        answer
    }
    .instrument(span)
    .await
}

/// The span for a collector. Checks of health are not recorded.
fn recorded(request: &Request, traceparent: Option<&str>) -> (telemetry::Span, TraceContext) {
    let route = request.extensions().get().map_or("unknown", MatchedPath::as_str);
    if is_quiet(route) {
        let trace = traceparent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::new_root);
        return (telemetry::Span::none(), trace);
    }
    telemetry::Span::of_request(traceparent, || format!("{} {route}", request.method()))
}

/// What is noted of each request, beside its answer.
struct Access {
    method: Method,
    route: Option<MatchedPath>,
}

impl Access {
    /// By the names of OpenTelemetry's semantic conventions for HTTP servers.
    fn note_in(&self, span: &mut telemetry::Span, status: StatusCode) {
        span.note("http.request.method", || self.method.to_string());
        span.note("http.route", || self.route.as_ref().map_or("unknown", MatchedPath::as_str).to_owned());
        span.count("http.response.status_code", status.as_u16().into());
        if status.is_server_error() {
            span.failed(status.as_str());
        }
    }

    /// Counts the request, and writes its line of the access log.
    fn note(&self, answer: &Response, took_ms: f64, trace: &TraceContext) {
        let route = self.route.as_ref().map_or("unknown", MatchedPath::as_str);
        let status = answer.status().as_u16();
        metrics::http_request(route, status);
        if !is_quiet(route) {
            let caller = answer.extensions().get::<Caller>().map(|caller| caller.name.as_str());
            let (method, trace_id) = (self.method.as_str(), trace.trace_id());
            tracing::info!(target: ACCESS, method, route, status, took_ms, caller, trace_id, "request");
        }
    }
}

fn span(request: &Request, trace_id: &str) -> Span {
    let path = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    let method = request.method().as_str();
    if is_quiet(path) {
        tracing::trace_span!("request", trace_id, method, path)
    } else {
        tracing::info_span!("request", trace_id, method, path)
    }
}

/// Ends a request that takes longer than `limit`. The time that its body takes to arrive does not count, and is limited by the
/// body's progress.
pub(super) async fn limit(limit: Duration, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let (arrived, upload) = (Instant::now(), request.extensions().get::<Upload>().cloned());
    let deadline = || upload.as_ref().map_or(arrived + limit, |upload| upload.deadline(limit));
    let mut answer = std::pin::pin!(next(request));
    loop {
        if let Ok(answer) = tokio::time::timeout_at(deadline().into(), &mut answer).await {
            return answer;
        }
        if deadline() <= Instant::now() {
            break;
        }
    }
    if upload.is_some_and(|upload| upload.is_awaited()) {
        return Problem::new(Kind::SlowBody, "the body arrives too slowly; nothing was stored").into_response();
    }
    Problem::new(Kind::TimedOut, "the request took too long, and its outcome is unknown; retry it")
        .retry_after_seconds(1)
        .cause(&format!("no answer within {limit:?}"))
        .into_response()
}

/// Answers a request also if its handler panics. The panic hook has logged the details.
pub(super) async fn unwinding(answer: impl Future<Output = Response>) -> Response {
    // What is left behind is the request's own.
    let panic = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(answer) => return answer,
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    Problem::internal(&format!("a handler panicked: {text}")).into_response()
}

/// Sets security headers. A page brings its own policy.
pub(super) async fn harden(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, API_POLICY),
    ];
    let mut answer = next(request).await;
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::Body,
        http::StatusCode,
        middleware::{Next, from_fn},
        routing::get,
    };
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn call(path: &str) -> (StatusCode, Option<HeaderValue>, String) {
        async fn hang() {
            std::future::pending::<()>().await;
        }
        async fn panic() {
            panic!("the secret of {}", 42)
        }
        let limit = Duration::from_millis(10);
        let routes = Router::new().route("/hang", get(hang)).route("/panic", get(panic));
        let routes = routes.route_layer(from_fn(move |request, next: Next| {
            super::limit(limit, request, async |request| next.run(request).await)
        }));
        let service = TowerToHyperService::new(crate::http::with_edge(routes, None));
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let Ok(answer) = service.call(request).await;
        let retry_after = answer.headers().get(header::RETRY_AFTER).cloned();
        assert!(answer.extensions().get::<Cause>().is_none(), "it was logged");
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (status, retry_after, String::from_utf8(body.into()).expect("text"))
    }

    #[test]
    fn an_escaped_colon_is_a_colon_and_nothing_else_changes() {
        for (sent, plain) in [
            ("/v1/quotes%3Abatch", "/v1/quotes:batch"),
            ("/v1/outbox%3aretry?a=%3A", "/v1/outbox:retry?a=%3A"),
            ("/v1/quotes%253Abatch", "/v1/quotes%253Abatch"),
            ("http://host/a%3Ab%2F", "http://host/a:b%2F"),
        ] {
            let mut uri = sent.parse().expect("a URI");
            with_plain_colons(&mut uri);
            assert_eq!(uri.to_string(), plain);
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_reveals_nothing() {
        let (status, _, body) = call("/panic").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("/problems/internal") && !body.contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_ended() {
        let (status, retry_after, body) = call("/hang").await;
        assert_eq!((status, retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(HeaderValue::from_static("1"))));
        assert!(body.contains("/problems/timed-out"), "{body}");
    }
}
