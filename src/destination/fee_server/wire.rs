//! One call on the wire: connection, credentials, time limit, and what is known when no answer comes.

use std::{
    io,
    net::{Ipv6Addr, UdpSocket},
    time::{Duration, Instant},
};

use reqwest::{
    Method, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
};
use serde_json::Value;
use url::Url;

use super::{
    FeeServerError,
    connections::{self, Connections},
    credentials::Credentials,
};
use crate::{
    destination::Delivery,
    outbox::Outcome,
    printable::{causes, chain, printable},
    settings,
    telemetry::{Span, TraceContext},
};

/// How much of an error's text is kept, in characters.
const ERROR_LENGTH_MAX: usize = 400;
/// Too many open files, here or in the system: the numbers are the same on Linux, macOS and the BSDs.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];
/// No buffer space available: on Linux, and on macOS and the BSDs.
const NO_BUFFERS: [i32; 2] = [105, 55];
/// Connection timed out, as the kernel reports it: on Linux, and on macOS and the BSDs.
const GIVEN_UP_BY_KERNEL: [i32; 2] = [110, 60];

/// The way to the fee server.
#[derive(Debug)]
pub(super) struct Wire {
    connections: Connections,
    credentials: Credentials,
    timeout: Duration,
}

/// A request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
    /// On whose behalf: its key and its trace go along.
    pub(super) delivery: Option<Delivery<'a>>,
}

/// Which connection a call takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// One that is kept, if there is one.
    Kept,
    /// One of its own.
    Fresh,
}

/// No answer came.
#[derive(Debug)]
pub(super) enum Lost {
    /// No connection could be made: nothing was sent.
    Unreachable(String),
    /// This process lacks the resources for a connection: nothing was sent.
    OutOfResources(String),
    /// The connection had been used before and died without a byte of an answer: before the request, or because of it.
    Stale(String),
    /// It was sent, and its effect is unknown.
    Unanswered(String),
}

impl Call<'_> {
    /// Its span, and the `traceparent` that goes along. By the names of OpenTelemetry's semantic conventions for HTTP clients.
    fn span(&self) -> (Span, Option<TraceContext>) {
        let trace_context = self.delivery.as_ref().and_then(|delivery| delivery.trace_context);
        let (mut span, trace) = Span::of_call(trace_context, || format!("{} {}", self.method, self.url.path()));
        span.note("http.request.method", || self.method.to_string());
        span.note("url.path", || self.url.path().to_owned());
        span.note("server.address", || self.url.host_str().unwrap_or_default().to_owned());
        (span, trace)
    }
}

impl Wire {
    pub(super) fn new(settings: &settings::FeeServer, concurrency: usize) -> Result<Self, FeeServerError> {
        Ok(Self {
            connections: Connections::new(settings, concurrency)?,
            credentials: Credentials::new(settings).map_err(|_| FeeServerError::Token)?,
            timeout: settings.timeout,
        })
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Until when a call that begins now may take.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends a call that is harmless to send twice: at once again on a connection of its own, if a used one died.
    pub(super) async fn send_harmless(&self, call: &Call<'_>, deadline: Instant) -> Result<Response, Lost> {
        match self.send(call, Via::Kept, deadline).await {
            Err(Lost::Stale(_)) => self.send(call, Via::Fresh, deadline).await,
            answer => answer,
        }
    }

    /// Sends `call` once, and once more with the token that the file holds by now if the current one is refused.
    pub(super) async fn send(&self, call: &Call<'_>, via: Via, deadline: Instant) -> Result<Response, Lost> {
        let token = self.credentials.current();
        let answer = self.send_as(call, via, deadline, token.as_ref()).await?;
        if !matches!(
            answer.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        ) {
            return Ok(answer);
        }
        match self.credentials.read_again(token.as_ref()).await {
            Some(other) => self.send_as(call, via, deadline, Some(&other)).await,
            None => Ok(answer),
        }
    }

    async fn send_as(
        &self,
        call: &Call<'_>,
        via: Via,
        deadline: Instant,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Lost> {
        let left = deadline.saturating_duration_since(Instant::now());
        let client = match via {
            Via::Kept => self.connections.kept(),
            Via::Fresh => self.connections.fresh(),
        };
        let mut request = client.request(call.method.clone(), call.url.clone()).timeout(left);
        if !call.query.is_empty() {
            request = request.query(call.query);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        if let Some(delivery) = &call.delivery {
            request = request.header("idempotency-key", delivery.id.to_string());
        }
        let (mut span, trace) = call.span();
        if let Some(trace) = trace {
            request = request.header("traceparent", trace.header());
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let (answer, connected) = connections::send(request).await;
        match &answer {
            Ok(answer) => span.count("http.response.status_code", answer.status().as_u16().into()),
            Err(error) => span.failed(&described(error)),
        }
        answer.map_err(|error| Lost::by(&error, connected))
    }
}

impl Lost {
    fn by(error: &reqwest::Error, connected: bool) -> Self {
        let text = described(error);
        if error.is_connect() || error.is_builder() {
            return if lacks_resources(error) { Self::OutOfResources(text) } else { Self::Unreachable(text) };
        }
        let died = !error.is_timeout() || has_errno(error, &GIVEN_UP_BY_KERNEL);
        if died && !connected { Self::Stale(text) } else { Self::Unanswered(text) }
    }

    /// The outcome of an attempt that ends here.
    pub(super) fn outcome<R>(self) -> Outcome<R> {
        match self {
            Self::Unreachable(error) => Outcome::Unreachable(error),
            Self::OutOfResources(error) => Outcome::OutOfResources(error),
            Self::Stale(error) | Self::Unanswered(error) => Outcome::Unknown(error),
        }
    }
}

/// Whether this process or host lacks the resources for a connection.
fn lacks_resources(error: &reqwest::Error) -> bool {
    let kinds = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let kinds: Vec<_> = kinds.collect();
    has_errno(error, &NO_DESCRIPTORS)
        || has_errno(error, &NO_BUFFERS)
        || kinds.contains(&io::ErrorKind::OutOfMemory)
        || (kinds.contains(&io::ErrorKind::AddrNotAvailable) && ports_are_used_up())
        || (error.is_dns() && descriptors_are_used_up())
}

/// A resolver that cannot open a socket reports an unknown name.
fn descriptors_are_used_up() -> bool {
    UdpSocket::bind("127.0.0.1:0").is_err_and(|error| errno_is(&error, &NO_DESCRIPTORS))
}

/// No local address can also mean that the name has an IPv6 address and this host has none.
fn ports_are_used_up() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn has_errno(error: &reqwest::Error, numbers: &[i32]) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| errno_is(error, numbers))
}

fn errno_is(error: &io::Error, numbers: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// What went wrong and why, in one printable line.
pub(super) fn described(error: &reqwest::Error) -> String {
    printable(&chain(error), ERROR_LENGTH_MAX)
}
