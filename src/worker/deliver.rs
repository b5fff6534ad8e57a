//! One delivery: it ends before its lease does, and it has an outcome whatever happens.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use crate::{
    crash,
    destination::Destination,
    outbox::{Attempt, LeasedEvent, Outcome},
    supervision::caught,
    telemetry::Span,
};

/// A delivery that has ended.
pub(super) struct Delivered<R> {
    pub attempt: Attempt<R>,
    pub begun: Instant,
}

/// Hands `event` over. Its outcome is unknown if no answer came before `end` or before `cut_off`, and if the delivery
/// panicked: it may have sent its request before that.
pub(super) async fn deliver<D: Destination>(
    destination: Arc<D>,
    event: LeasedEvent,
    begun: Instant,
    end: Instant,
    cut_off: CancellationToken,
) -> Delivered<D::Receipt> {
    let mut span = span_of(&event);
    // What the destination sends continues the attempt's span. What is stored because of it continues the submission's.
    let traced = span.context().map(|trace| {
        let mut traced = event.clone();
        traced.trace_context = Some(trace.header());
        traced
    });
    let outcome = tokio::select! {
        biased;
        () = cut_off.cancelled() => Outcome::Unknown("the delivery was aborted".into()),
        outcome = caught(hand_over(&*destination, traced.as_ref().unwrap_or(&event), end)) => {
            outcome.unwrap_or_else(|panic| Outcome::Unknown(format!("the delivery panicked: {panic}")))
        }
    };
    span.note("feebox.outcome", || outcome.name().to_owned());
    if let Some(error) = outcome.error() {
        span.failed(error);
    }
    span.end();
    Delivered {
        attempt: Attempt { event, outcome: outcome.printable(), took: begun.elapsed(), is_overtaken: false },
        begun,
    }
}

/// By the names of OpenTelemetry's semantic conventions for messaging, where they have one.
fn span_of(event: &LeasedEvent) -> Span {
    let mut span = Span::of_attempt(event.trace_context.as_deref(), || format!("deliver {}", event.destination));
    span.note("messaging.message.id", || event.id.to_string());
    span.note("messaging.destination.name", || event.destination.to_string());
    span.note("feebox.event_type", || event.event_type.to_string());
    span.note("feebox.quote_id", || event.aggregate_id.to_string());
    span.count("feebox.attempt", event.attempt.into());
    span
}

async fn hand_over<D: Destination>(destination: &D, event: &LeasedEvent, end: Instant) -> Outcome<D::Receipt> {
    crash::point("after-claim");
    let outcome = before(end, destination.deliver(event)).await;
    let outcome = outcome.unwrap_or_else(|| Outcome::Unknown("no answer before the lease ended".into()));
    crash::point("after-delivery");
    outcome
}

/// The result of `work`, if there is one before `end`. This timeout also holds for a process that stood still meanwhile: the
/// clock is read before the work goes on, so that a worker that wakes up after its lease sends nothing more.
async fn before<T>(end: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let in_time =
        poll_fn(|context| if Instant::now() < end { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) });
    tokio::time::timeout(end.saturating_duration_since(Instant::now()), in_time).await.ok().flatten()
}
