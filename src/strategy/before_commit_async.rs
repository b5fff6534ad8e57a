//! The fee server is called from inside the transaction, which does not wait for it.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DatabaseTransaction;
use tokio::time::sleep;

use super::{
    Sender,
    sender::{Sending, Sent, Stored},
};
use crate::{
    fees::Fee,
    submission::{Listener, ListenerError, Submitted},
};

/// How often a fee looks for its quote, which may not be committed yet, and the pause after each look.
const LOOKS_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Calls the fee server before the commit, asynchronously. To be measured, not to be used: whether the transaction
/// commits is not known when the call is made, so a rollback leaves a ghost.
#[derive(Clone)]
pub struct BeforeCommitAsync {
    sender: Sender,
}

impl BeforeCommitAsync {
    /// One call a quote, by `sender`.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self { sender }
    }

    async fn bring_fee(self, sending: Sending) {
        let quote = sending.quote_id;
        match self.sender.send(&sending).await {
            Sent::Fee(fee) => self.store(&sending, &fee).await,
            Sent::Failed { why, .. } => tracing::error!(%quote, error = why, "the fee is lost"),
        }
    }

    async fn store(&self, sending: &Sending, fee: &Fee) {
        let quote = sending.quote_id;
        for _ in 0..LOOKS_MAX {
            match self.sender.store(sending, fee).await {
                Ok(Stored::Confirmed | Stored::Voided) => return,
                Ok(Stored::NoQuote) => sleep(LOOK_PAUSE).await,
                Err(error) => return tracing::error!(%quote, %error, "the fee was made and not stored"),
            }
        }
        tracing::error!(%quote, fee = fee.fee_id, "a ghost: the fee of a quote that was rolled back");
    }
}

#[async_trait]
impl Listener for BeforeCommitAsync {
    async fn before_commit(&self, _txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        for sending in Sending::each_of(submitted) {
            self.sender.spawn(self.clone().bring_fee(sending));
        }
        Ok(())
    }
}
