//! Spans of OpenTelemetry: one trace holds a submission, each attempt to deliver its events, and each call that an attempt makes.
//!
//! Without a collector (`traces.otlp_endpoint`) nothing is recorded, and a trace is only passed on.

#[cfg_attr(feature = "otel", path = "exported.rs")]
#[cfg_attr(not(feature = "otel"), path = "absent.rs")]
mod recorded;

use super::TraceContext;

pub use recorded::end;
#[cfg(feature = "server")]
pub use recorded::{StartError, start};

/// What a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A request that this process answers.
    Server,
    /// An attempt to deliver an event that was stored before.
    Consumer,
    /// A request that this process makes.
    Client,
    /// A record that this process publishes.
    Producer,
}

/// A span that ends when it is dropped, if it is recorded.
#[derive(Debug)]
pub struct Span(Option<recorded::Span>);

impl Span {
    /// One that is not recorded.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A request to this process, and where it is in its trace: below the caller's, if there is a valid `traceparent`.
    #[must_use]
    pub fn of_request(traceparent: Option<&str>, name: impl FnOnce() -> String) -> (Self, TraceContext) {
        let caller = traceparent.and_then(TraceContext::parse);
        let span = recorded::start_span(Kind::Server, name, caller.as_ref(), false);
        let trace = span.as_ref().map(recorded::Span::context).or(caller).unwrap_or_else(TraceContext::new_root);
        (Self(span), trace)
    }

    /// An attempt to deliver an event, linked to the call that stored it.
    #[must_use]
    pub fn of_attempt(trace_context: Option<&str>, name: impl FnOnce() -> String) -> Self {
        let stored = trace_context.and_then(TraceContext::parse);
        Self(stored.and_then(|stored| recorded::start_span(Kind::Consumer, name, Some(&stored), true)))
    }

    /// A call of `trace_context`, and the `traceparent` that goes along with it.
    #[must_use]
    pub fn of_call(trace_context: Option<&str>, name: impl FnOnce() -> String) -> (Self, Option<TraceContext>) {
        Self::outgoing(Kind::Client, trace_context, name)
    }

    /// A record of `trace_context`, and the `traceparent` that goes along with it.
    #[must_use]
    pub fn of_record(trace_context: Option<&str>, name: impl FnOnce() -> String) -> (Self, Option<TraceContext>) {
        Self::outgoing(Kind::Producer, trace_context, name)
    }

    fn outgoing(
        kind: Kind,
        trace_context: Option<&str>,
        name: impl FnOnce() -> String,
    ) -> (Self, Option<TraceContext>) {
        let Some(parent) = trace_context.and_then(TraceContext::parse) else { return (Self(None), None) };
        let span = recorded::start_span(kind, name, Some(&parent), false);
        let trace = span.as_ref().map_or_else(|| parent.child(), recorded::Span::context);
        (Self(span), Some(trace))
    }

    /// Where what happens within it continues its trace; `None` if it is not recorded.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(recorded::Span::context)
    }

    /// Notes a fact about it, by the names of OpenTelemetry's semantic conventions where they have one.
    pub fn note(&mut self, key: &'static str, value: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.note(key, value());
        }
    }

    /// Notes a number about it.
    pub fn count(&mut self, key: &'static str, value: i64) {
        if let Some(span) = &mut self.0 {
            span.count(key, value);
        }
    }

    /// Ends it.
    pub fn end(self) {}

    /// What it stands for failed, because of `why`.
    pub fn failed(&mut self, why: &str) {
        if let Some(span) = &mut self.0 {
            span.failed(why);
        }
    }
}
