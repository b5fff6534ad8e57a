//! The destination is called from inside the transaction, which does not wait for it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{
    Sender,
    sender::{Sending, Sent, Stored},
    target::Taken,
};
use crate::database::DatabaseTransaction;
use crate::submission::{Listener, ListenerError, Submitted};

/// How often an answer looks for its quote, which may not be committed yet, and the pause after each look.
const LOOKS_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Calls the destination before the commit, asynchronously. To be measured, not to be used: whether the transaction
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

    async fn hand_over(self, sending: Sending) {
        let quote = sending.quote_id;
        match self.sender.send(&sending).await {
            Sent::Taken(taken) => self.store(&sending, &taken).await,
            Sent::Failed { why, .. } => tracing::error!(%quote, error = why, "the quote is lost to its destination"),
        }
    }

    async fn store(&self, sending: &Sending, taken: &Taken) {
        let quote = sending.quote_id;
        for _ in 0..LOOKS_MAX {
            match self.sender.store(sending, taken).await {
                Ok(Stored::Confirmed | Stored::Voided) => return,
                Ok(Stored::NoQuote) => sleep(LOOK_PAUSE).await,
                Err(error) => return tracing::error!(%quote, %error, "taken, and the answer not stored"),
            }
        }
        tracing::error!(%quote, "a ghost: its destination has taken a quote that was rolled back");
    }
}

#[async_trait]
impl Listener for BeforeCommitAsync {
    async fn before_commit(&self, _txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        for sending in self.sender.sendings(submitted) {
            self.sender.spawn(self.clone().hand_over(sending));
        }
        Ok(())
    }
}
