//! Taking a quote back that its destination did not take.

use tokio::time::sleep;

use super::sender::Sending;
use crate::{
    database::Database,
    outbox::{DestinationName, RetryPolicy},
    quotes::{self, FEE_SERVER, Status},
    relay::{News, Relay, What},
    submission::{CancelError, cancel},
    telemetry::metrics,
    worker::Signal,
};

/// How often a compensation is tried before it is left to the sweeper.
const ATTEMPTS_MAX: i32 = 10;

/// The compensating transaction: `pending → cancelled` by compare and set, with the reason. It may fail itself, and it
/// dies with its process: what is left pending then is the sweeper's to find.
#[derive(Clone)]
pub struct Compensation {
    db: Database,
    retry: RetryPolicy,
    /// Sent after a quote was settled.
    settled: Signal,
    relay: Relay,
    /// Whom the calls are made to.
    destination: &'static DestinationName,
}

impl Compensation {
    /// Compensates in `db` for calls to `destination` that failed, tries again by `retry` when that fails, and has others
    /// told by `relay`.
    #[must_use]
    pub fn new(
        db: Database,
        destination: &'static DestinationName,
        retry: RetryPolicy,
        settled: Signal,
        relay: Relay,
    ) -> Self {
        Self { db, retry, settled, relay, destination }
    }

    pub(super) async fn compensate(&self, sending: &Sending, why: &str, may_have_reached: bool) {
        let quote = sending.quote_id;
        let reason = format!("{} did not take it: {why}", self.destination);
        for attempt in 1..=ATTEMPTS_MAX {
            match self.once(sending, &reason, may_have_reached).await {
                Ok(true) => {
                    metrics::compensation("cancelled");
                    self.settled.send();
                    return tracing::warn!(%quote, reason, may_have_reached, "compensated: the quote is cancelled");
                }
                Ok(false) => {
                    metrics::compensation("not_pending");
                    return tracing::info!(%quote, "nothing to compensate: the quote is not pending any more");
                }
                Err(error) => {
                    metrics::compensation("failed");
                    tracing::error!(%quote, attempt, %error, "the compensation failed");
                }
            }
            sleep(self.retry.delay(attempt)).await;
        }
        tracing::error!(%quote, "not compensated: it stays pending until the sweeper finds it");
    }

    /// Tells whether the quote was pending and is cancelled now. If its destination may have taken it, an event that takes
    /// that back follows.
    async fn once(&self, sending: &Sending, reason: &str, may_have_reached: bool) -> Result<bool, CancelError> {
        let (id, pending) = (sending.quote_id, [Status::Pending]);
        let done = self.db.transaction(|txn| {
            Box::pin(async move {
                let (now, trace_context) = (self.db.now(&*txn).await?, sending.trace_context.clone());
                if may_have_reached {
                    cancel(&txn, self.relay, id, &pending, Some(reason), trace_context, now).await?;
                    return Ok(true);
                }
                let moved = quotes::advance(&*txn, [id], &pending, Status::Cancelled, Some(reason), now).await?;
                // Kafka was not told of it, so that there is nothing to add.
                if moved == 1 && *self.destination == FEE_SERVER {
                    let what = What::Cancelled(id, Some(reason));
                    self.relay.tell(&txn, now, &[News { what, trace_context }]).await?;
                }
                Ok(moved == 1)
            })
        });
        match done.await {
            Err(CancelError::Before(_) | CancelError::NotFound | CancelError::Rejected) => Ok(false),
            done => done,
        }
    }
}
