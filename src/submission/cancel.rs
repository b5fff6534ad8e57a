//! Cancelling a quote for its client.

use uuid::Uuid;

use super::Submission;
use crate::quotes::{self, CancelError, Cancellation, Quote};

impl Submission {
    /// Cancels quote `id`, whosever it is, see [`cancel_of`](Self::cancel_of).
    ///
    /// # Errors
    /// See [`CancelError`]; nothing is changed.
    pub async fn cancel(
        &self,
        id: Uuid,
        reason: Option<&str>,
        trace_context: Option<&str>,
    ) -> Result<Quote, CancelError> {
        self.cancel_of(None, id, reason, trace_context).await
    }

    /// Cancels quote `id` in a transaction of its own, see [`quotes::cancel`], for `owner`, who must have submitted it. Cancelling
    /// twice is one cancellation.
    ///
    /// # Errors
    /// See [`CancelError`]; nothing is changed.
    pub async fn cancel_of(
        &self,
        owner: Option<&str>,
        id: Uuid,
        reason: Option<&str>,
        trace_context: Option<&str>,
    ) -> Result<Quote, CancelError> {
        let cancellation = Cancellation { owner, by: owner, ..Cancellation::of(id, reason, trace_context) };
        let cancelled = self.store.db.transaction(|txn| {
            Box::pin(async move {
                let now = self.store.db.now(&*txn).await?;
                quotes::cancel(&txn, self.relay(), cancellation, now).await
            })
        });
        self.after_cancellation(cancelled.await).await
    }

    /// Notifies the listeners if a quote was cancelled by a transaction that was committed.
    pub(crate) async fn after_cancellation(&self, cancelled: Result<Quote, CancelError>) -> Result<Quote, CancelError> {
        match cancelled {
            Ok(quote) => {
                for listener in &self.store.listeners {
                    listener.after_cancellation(&quote).await;
                }
                Ok(quote)
            }
            Err(CancelError::AlreadyCancelled(quote)) => Ok(*quote),
            Err(error) => Err(error),
        }
    }
}
