//! Taking a quote back.

use sea_orm::{DbErr, EntityTrait};
use serde_json::json;
use uuid::Uuid;

use super::Submission;
use crate::{
    outbox::{NewEvent, record, withdraw},
    quotes::{self, FEE_SERVER, Quote, Status},
};

/// Why a quote was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is no such quote.
    #[error("there is no such quote")]
    NotFound,
    /// The fee server refused it for good: there is nothing to take back.
    #[error("the quote was rejected; there is nothing to cancel")]
    Rejected,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl Submission {
    /// Cancels quote `id`, in one transaction: its undelivered events are withdrawn, and if a fee exists or may exist, an
    /// event that voids it is stored behind them. Cancelling twice is one cancellation.
    ///
    /// A delivery in flight ends in one of two sound states: it settles first, and the fee record that it stored is voided
    /// at the fee server; or the cancellation commits first, and whatever the delivery brings, the void follows it.
    ///
    /// # Errors
    /// See [`CancelError`]; nothing is changed.
    pub async fn cancel(
        &self,
        id: Uuid,
        reason: Option<&str>,
        trace_context: Option<String>,
    ) -> Result<Quote, CancelError> {
        let txn = self.db.begin().await?;
        let now = self.db.now(&*txn).await?;
        // Events before the quote, in the order in which settling takes its locks.
        let withdrawn = withdraw(&txn, id, FEE_SERVER, now).await?;
        let cancellable = [Status::Pending, Status::Confirmed];
        let moved = quotes::advance(&*txn, [id], &cancellable, Status::Cancelled, reason, now).await?;
        let quote = entity::quote::Entity::find_by_id(id).one(&*txn).await?.ok_or(CancelError::NotFound)?;
        if moved == 0 {
            // The transaction is dropped, and with it what was withdrawn.
            return if quote.status == Status::Cancelled { Ok(quote) } else { Err(CancelError::Rejected) };
        }
        let has_fee = quotes::get(&*txn, id).await?.is_some_and(|found| found.fee.is_some());
        if withdrawn.may_have_reached || has_fee {
            let void = NewEvent {
                quote_id: id,
                event_type: "quote.cancelled",
                destination: FEE_SERVER,
                sequence: withdrawn.next_sequence,
                payload: json!({ "quote_id": id }),
                trace_context,
            };
            record(&txn, now, vec![void]).await?;
        }
        txn.commit().await?;
        for listener in &self.listeners {
            listener.after_cancellation(&quote).await;
        }
        Ok(quote)
    }
}
