//! The destination is called inside the transaction, which does not wait for it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{
    Sender,
    sender::{Sending, Sent},
    target::Acceptance,
};
use crate::{
    database::DatabaseTransaction,
    quotes::{CallConfirmation, QuoteDestination, Relay},
    submission::{Handover, ListenerError, Submitted},
};

/// How often an answer is tried to store, because its quote may not be committed yet, and the pause after each attempt.
const ATTEMPTS_MAX: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

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
            Sent::Accepted(acceptance) => self.store(&sending, &acceptance).await,
            Sent::Failed { why, .. } => {
                tracing::error!(%quote, error = why, "the destination did not accept the quote");
            }
        }
    }

    async fn store(&self, sending: &Sending, acceptance: &Acceptance) {
        let quote = sending.quote_id;
        for _ in 0..ATTEMPTS_MAX {
            match self.sender.store(sending, acceptance).await {
                Ok(CallConfirmation::Confirmed | CallConfirmation::Voided) => return,
                Ok(CallConfirmation::NotPending) => sleep(ATTEMPT_PAUSE).await,
                Err(error) => return tracing::error!(%quote, %error, "the destination's answer could not be stored"),
            }
        }
        tracing::error!(%quote, "ghost: the destination accepted a quote that was rolled back");
    }
}

#[async_trait]
impl Handover for BeforeCommitAsync {
    fn destination(&self) -> QuoteDestination {
        self.sender.destination()
    }

    fn relay(&self) -> Relay {
        self.sender.relay()
    }

    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError> {
        self.sender.record_news(txn, submissions).await?;
        for sending in self.sender.sendings(submissions) {
            self.sender.spawn(self.clone().hand_over(sending));
        }
        Ok(())
    }

    async fn after_commit(&self, _submitted: &Submitted) {}
}
