//! One log line and a few counts for each attempt that ended.

use std::error::Error;

use crate::{
    outbox::{Attempt, Disposition, Settled},
    telemetry::{metrics, trace_context::TraceContext},
};

/// An attempt of this worker was settled.
pub(super) fn settled<R>(settled: Settled<'_, R>) {
    let (attempt, _) = settled;
    if !attempt.outcome.is_unsent() {
        metrics::delivery_seconds(attempt.event.destination.clone(), attempt.took);
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
    let (quote, number, took) = (event.aggregate_id, event.attempt, attempt.took);
    let error = attempt.outcome.error();
    match became {
        Disposition::Delivered => {
            tracing::info!(event = %event.id, %quote, destination, attempt = number, ?took, trace_id, "delivered");
        }
        Disposition::Pending(due_at) => {
            tracing::warn!(event = %event.id, %quote, destination, attempt = number, ?took, trace_id, outcome, error,
                %due_at, "delivery failed and will be retried");
        }
        Disposition::Dead(why) => {
            tracing::error!(event = %event.id, %quote, destination, attempt = number, ?took, trace_id, outcome, error,
                why, "event is dead: an operator can retry it");
        }
        Disposition::Cancelled => {
            tracing::info!(event = %event.id, %quote, destination, attempt = number, ?took, trace_id, outcome, error,
                "event was cancelled while it was being delivered");
        }
        Disposition::AlreadySettled(became) => ended((attempt, became)),
        Disposition::LeaseLost(holder) => {
            metrics::lease_lost(1);
            tracing::warn!(event = %event.id, %quote, destination, attempt = number, ?took, trace_id, outcome,
                lease = %event.lease_token, holder, "result came after its lease had ended and changed nothing");
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
