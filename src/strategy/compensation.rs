//! Cancelling a quote that its destination did not accept.

use tokio::time::sleep;

use super::sender::Sending;
use crate::{
    database::Database,
    outbox::RetryPolicy,
    quotes::{self, CancelError, Cancellation, QuoteDestination, Relay, Status},
    telemetry::metrics,
    worker::Signal,
};

/// How often a compensation is tried before it is left to the sweeper.
const ATTEMPTS_MAX: i32 = 10;

/// The compensating transaction: it cancels the quote if it is pending. It may fail, and it is lost if the process crashes:
/// then the quote stays pending until the sweeper finds it.
#[derive(Clone)]
pub struct Compensation {
    db: Database,
    retry: RetryPolicy,
    /// Sent after a quote was settled.
    settled: Signal,
    relay: Relay,
    /// What was called.
    destination: QuoteDestination,
}

impl Compensation {
    /// Compensates in `db` for calls to `destination` that failed. It tries again as `retry` says when that fails; `relay`
    /// stores the news.
    #[must_use]
    pub fn new(db: Database, destination: QuoteDestination, retry: RetryPolicy, settled: Signal, relay: Relay) -> Self {
        Self { db, retry, settled, relay, destination }
    }

    pub(super) async fn compensate(&self, sending: &Sending, why: &str, may_have_reached: bool) {
        let quote = sending.quote_id;
        let reason = format!("{} did not take it: {why}", self.destination.name());
        for attempt in 1..=ATTEMPTS_MAX {
            match self.once(sending, &reason, may_have_reached).await {
                Ok(true) => {
                    metrics::compensation("cancelled");
                    self.settled.send();
                    return tracing::warn!(%quote, reason, may_have_reached, "compensated: the quote is cancelled");
                }
                Ok(false) => {
                    metrics::compensation("not_pending");
                    return tracing::info!(%quote, "nothing to compensate: the quote is no longer pending");
                }
                Err(error) => {
                    metrics::compensation("failed");
                    tracing::error!(%quote, attempt, %error, "compensation failed");
                }
            }
            sleep(self.retry.delay(attempt)).await;
        }
        tracing::error!(%quote, "not compensated: the quote stays pending until the sweeper finds it");
    }

    /// Whether the quote was pending and is cancelled now. If its destination may have accepted it, an event that takes that
    /// back follows.
    async fn once(&self, sending: &Sending, reason: &str, may_have_reached: bool) -> Result<bool, CancelError> {
        let cancellation = Cancellation {
            from: &[Status::Pending],
            never_accepted: !may_have_reached,
            ..Cancellation::of(sending.quote_id, Some(reason), sending.trace_context.as_deref())
        };
        let cancelled = self.db.transaction(|txn| {
            Box::pin(async move {
                let now = self.db.now(&*txn).await?;
                quotes::cancel(&txn, self.relay, cancellation, now).await
            })
        });
        match cancelled.await {
            Ok(_) => Ok(true),
            Err(CancelError::AlreadyCancelled(_) | CancelError::NotFound | CancelError::Rejected) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
