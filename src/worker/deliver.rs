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
    let outcome = tokio::select! {
        biased;
        () = cut_off.cancelled() => Outcome::Unknown("the delivery was aborted".into()),
        outcome = caught(hand_over(&*destination, &event, end)) => {
            outcome.unwrap_or_else(|panic| Outcome::Unknown(format!("the delivery panicked: {panic}")))
        }
    };
    Delivered {
        attempt: Attempt { event, outcome: outcome.printable(), took: begun.elapsed(), is_overtaken: false },
        begun,
    }
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
