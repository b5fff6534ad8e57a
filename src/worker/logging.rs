//! One log line and a few counts for each attempt that ended.

use std::error::Error;

use chrono::SecondsFormat;

use crate::{
    outbox::{self, Attempt, DestinationChange, Disposition, Settled},
    telemetry::{SampledByKind, metrics, milliseconds, trace_context::TraceContext},
};

/// Five thousand events that fail for one cause are one line in ten seconds, with their number.
static RETRIED: SampledByKind = SampledByKind::new();
static DIED: SampledByKind = SampledByKind::new();

/// An attempt of this worker was settled.
pub(super) fn settled<R>(settled: Settled<'_, R>) {
    let (attempt, _) = settled;
    if !attempt.outcome.is_unsent() {
        let event = &attempt.event;
        metrics::delivery_seconds(event.destination.clone(), attempt.took, event.trace_context.as_deref());
    }
    ended(settled);
}

/// An attempt of a worker that left no result was rescued. How long it took is unknown.
pub(super) fn rescued(rescued: Settled<'_, ()>) {
    ended(rescued);
}

/// No payload and no secret is logged.
fn ended<R>((attempt, became): Settled<'_, R>) {
    let event = &attempt.event;
    let (destination, outcome) = (event.destination.as_str(), attempt.outcome.name());
    metrics::delivery(event.destination.clone(), outcome);
    let trace = event.trace_context.as_deref().and_then(TraceContext::parse);
    let trace_id = trace.as_ref().map(TraceContext::trace_id);
    let (quote, number, took_ms) = (event.aggregate_id, event.attempt, milliseconds(attempt.took));
    let error = attempt.outcome.error();
    let cause = || outbox::cause(outcome, error.unwrap_or_default());
    let kind = || format!("{destination} {}", cause());
    if matches!(became, Disposition::Pending(_) | Disposition::Dead(_)) && !attempt.outcome.is_unsent() {
        metrics::failed_for(destination, cause());
    }
    match became {
        Disposition::Delivered => {
            tracing::info!(event = %event.id, %quote, destination, attempt = number, took_ms, trace_id, "delivered");
        }
        Disposition::Pending(due_at) => {
            let Some(alike) = RETRIED.count(kind) else { return };
            let due_at = due_at.to_rfc3339_opts(SecondsFormat::Millis, true);
            tracing::warn!(alike, event = %event.id, %quote, destination, attempt = number, took_ms, trace_id, outcome, error,
                due_at, "delivery failed and will be retried");
        }
        Disposition::Dead(why) => {
            metrics::event_died(event.destination.clone());
            let Some(alike) = DIED.count(kind) else { return };
            tracing::error!(alike, event = %event.id, %quote, destination, attempt = number, took_ms, trace_id, outcome, error,
                why, "event is dead: an operator can retry it");
        }
        Disposition::Cancelled => {
            tracing::info!(event = %event.id, %quote, destination, attempt = number, took_ms, trace_id, outcome, error,
                "event was cancelled while it was being delivered");
        }
        Disposition::AlreadySettled(became) => ended((attempt, became)),
        Disposition::LeaseLost(holder) => {
            metrics::lease_lost(1);
            tracing::warn!(event = %event.id, %quote, destination, attempt = number, took_ms, trace_id, outcome,
                lease = %event.lease_token, holder, "result came after its lease had ended and changed nothing");
        }
    }
}

/// The state of a destination changed, by a result of this process.
pub(super) fn destination_changed(destination: &str, change: &DestinationChange) {
    match change {
        DestinationChange::CircuitOpened(reason) => {
            tracing::warn!(destination, reason, "circuit opened: one probe at a time is sent until one succeeds");
        }
        DestinationChange::CircuitClosed => tracing::info!(destination, "circuit closed: a probe succeeded"),
        DestinationChange::HeldUntil(until) => {
            let until = until.to_rfc3339_opts(SecondsFormat::Millis, true);
            tracing::warn!(destination, until, "the destination asked to be left alone (Retry-After)");
        }
    }
}

/// A result could not be stored before its lease ended. The next attempt looks first.
pub(super) fn not_stored<R>(attempt: &Attempt<R>) {
    let (event, outcome) = (&attempt.event, attempt.outcome.name());
    metrics::lease_lost(1);
    tracing::error!(event = %event.id, quote = %event.aggregate_id, destination = event.destination.as_str(), attempt = event.attempt,
        outcome, lease = %event.lease_token, "result could not be settled before its lease ended: the event is attempted again");
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
