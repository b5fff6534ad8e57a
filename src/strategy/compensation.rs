//! Cancelling a quote that its destination did not accept.

use tokio::time::sleep;

use super::sender::Sending;
use crate::{
    database::Database,
    outbox::RetryPolicy,
    quotes::{self, Cancellation, QuoteDestination, Relay},
    telemetry::metrics,
    worker::Signal,
};

/// How often a compensation is tried before it is left to the sweeper.
const ATTEMPTS_MAX: i32 = 10;

/// The compensating transaction: it cancels the quote if it is pending. It may fail, and it is lost if the process crashes:
/// then the quote stays pending until the sweeper finds it.
#[derive(Clone)]
pub(super) struct Compensation {
    pub(super) db: Database,
    /// When it is tried again.
    pub(super) retry: RetryPolicy,
    /// Sent after a quote was settled.
    pub(super) settled: Signal,
    /// Stores the news.
    pub(super) relay: Relay,
    /// What was called.
    pub(super) destination: QuoteDestination,
}

impl Compensation {
    pub(super) async fn compensate(&self, sending: &Sending, why: &str, may_have_reached: bool) {
        let quote = sending.quote_id;
        let reason = format!("{} did not take it: {why}", self.destination.name());
        for attempt in 1..=ATTEMPTS_MAX {
            // If the destination may have accepted it, an event that takes that back follows.
            let cancellation = Cancellation {
                never_accepted: !may_have_reached,
                ..Cancellation::of(quote, Some(&reason), sending.trace_context.as_deref()).by("compensation")
            };
            match quotes::cancel_pending(&self.db, self.relay, cancellation).await {
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
}
