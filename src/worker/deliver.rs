//! One delivery: bounded by its lease, and an outcome whatever happens.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Instant,
};

use tokio::task::JoinError;

use super::tell;
use crate::{
    crash,
    destination::Destination,
    outbox::{LeasedEvent, Outcome},
};

/// Hands `event` over; what it comes to is unknown if no answer came before `end`.
pub(super) async fn deliver<D: Destination>(destination: &D, event: &LeasedEvent, end: Instant) -> Outcome<D::Receipt> {
    crash::point("after-claim");
    let outcome = before(end, destination.deliver(event)).await;
    let outcome = outcome.unwrap_or_else(|| Outcome::Unknown("no answer before the lease ended".into()));
    crash::point("after-delivery");
    outcome
}

/// What `work` comes to, if it does before `end`. A time-out that also holds for a process that stood still meanwhile: the
/// clock is read before the work goes on, so that a worker that wakes up after its lease sends nothing more.
async fn before<T>(end: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let in_time =
        poll_fn(|context| if Instant::now() < end { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) });
    tokio::time::timeout(end.saturating_duration_since(Instant::now()), in_time).await.ok().flatten()
}

/// A panic in a delivery is a failed attempt; what it had sent before, nobody knows.
pub(super) fn panicked<R>(error: JoinError) -> Outcome<R> {
    let Ok(panic) = error.try_into_panic() else {
        return Outcome::Unknown("the delivery was aborted".into());
    };
    Outcome::Unknown(format!("the delivery panicked: {}", tell::panic(&*panic)))
}
