//! Spans that go to a collector by OTLP over HTTP, in batches, from a thread of their own.
//!
//! Sending neither blocks nor fails anything else: spans that find no room, or no collector, are lost, and a log line says so.

use std::{sync::OnceLock, time::Duration};

use async_trait::async_trait;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Handle;
use url::Url;

use super::{Kind, TraceContext};
use crate::{printable, telemetry::Sampled};

/// How long a batch may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the process waits at its end for the last batch.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of an answer's text is logged, in characters.
const TEXT_LENGTH_MAX: usize = 200;

static TRACING: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The exporter does not take the endpoint.
    #[error("traces.otlp_endpoint is not usable")]
    Exporter(#[from] ExporterBuildError),
    /// The HTTP client could not be set up.
    #[error("the HTTP client for traces could not be set up")]
    Client(#[from] reqwest::Error),
}

/// Records spans from now on, and sends them to `endpoint` in the name of process `name`: of the traces that begin here,
/// `sample_ratio` of all. A process has one collector, so that further calls change nothing. To be called within the runtime.
///
/// # Errors
/// See [`StartError`]. An unavailable collector is no error.
pub fn start(endpoint: &Url, sample_ratio: f64, name: &str) -> Result<(), StartError> {
    let http = reqwest::Client::builder().timeout(SEND_TIMEOUT).build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { http, runtime: Handle::current(), failures: Sampled::new() })
        .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", name.to_owned()))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(resource)
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    let _ = TRACING.set((provider, tracer));
    Ok(())
}

/// Sends the last spans, at the end of the process, while the runtime still runs.
pub fn end() {
    if let Some((provider, _)) = TRACING.get() {
        // It has been logged if it failed.
        let _ = provider.shutdown_with_timeout(LAST_TIMEOUT);
    }
}

/// A span that is recorded, or would be if its trace were sampled.
#[derive(Debug)]
pub struct Span(opentelemetry_sdk::trace::Span);

pub(super) fn start_span(
    kind: Kind,
    name: impl FnOnce() -> String,
    parent: Option<&TraceContext>,
    is_linked: bool,
) -> Option<Span> {
    let (_, tracer) = TRACING.get()?;
    let parent = parent.map(remote);
    let mut builder = tracer.span_builder(name()).with_kind(match kind {
        Kind::Server => SpanKind::Server,
        Kind::Consumer => SpanKind::Consumer,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
    });
    if let Some(parent) = parent.clone().filter(|_| is_linked) {
        builder = builder.with_links(vec![Link::new(parent, Vec::new(), 0)]);
    }
    let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    Some(Span(builder.start_with_context(tracer, &context)))
}

fn remote(trace: &TraceContext) -> SpanContext {
    let trace_id = TraceId::from_hex(trace.trace_id()).unwrap_or(TraceId::INVALID);
    let span_id = SpanId::from_hex(trace.span_id()).unwrap_or(SpanId::INVALID);
    SpanContext::new(trace_id, span_id, TraceFlags::new(trace.flags()), true, TraceState::NONE)
}

impl Span {
    pub(super) fn context(&self) -> TraceContext {
        let context = self.0.span_context();
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
        let span_id = u64::from_be_bytes(context.span_id().to_bytes());
        TraceContext::new(trace_id, span_id, context.trace_flags().to_u8())
    }

    pub(super) fn note(&mut self, key: &'static str, value: String) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    pub(super) fn count(&mut self, key: &'static str, value: i64) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    pub(super) fn failed(&mut self, why: &str) {
        self.0.set_status(Status::error(why.to_owned()));
    }
}

/// Sends batches on the process's runtime: the exporter's thread has none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    failures: Sampled,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move {
            let answer = http.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            Ok::<_, HttpError>(response.body(answer.bytes().await?)?)
        });
        let answer = sent.await.map_err(HttpError::from).and_then(|answer| answer);
        let failure = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("{}: {}", answer.status(), String::from_utf8_lossy(answer.body()))),
            Err(error) => Some(printable::chain(&**error)),
        };
        if let Some(why) = failure
            && let Some(batches) = self.failures.count()
        {
            tracing::warn!(batches, why = printable::printable(&why, TEXT_LENGTH_MAX), "the collector takes no spans");
        }
        answer
    }
}
