//! The destination is called after the commit, without waiting for it.

use async_trait::async_trait;

use super::{
    Compensation, Sender,
    sender::{Sending, Sent},
};
use crate::{
    database::DatabaseTransaction,
    quotes::{CallConfirmation, QuoteDestination, Relay},
    submission::{Handover, ListenerError, Submitted},
};

/// Calls the destination after the commit, asynchronously. No ghosts: the quote is stored. But only this process's memory
/// knows that the call is still to be made, so a crash in between loses it.
#[derive(Clone)]
pub struct AfterCommit {
    sender: Sender,
    compensation: Option<Compensation>,
}

impl AfterCommit {
    /// One call a quote, by `sender`; with `compensation`, a call that failed for good cancels the quote.
    #[must_use]
    pub fn new(sender: Sender, compensation: Option<Compensation>) -> Self {
        Self { sender, compensation }
    }

    async fn hand_over(self, sending: Sending) {
        let quote = sending.quote_id;
        match self.sender.send(&sending).await {
            Sent::Accepted(acceptance) => match self.sender.store(&sending, &acceptance).await {
                Ok(CallConfirmation::Confirmed) => tracing::debug!(%quote, "confirmed"),
                Ok(CallConfirmation::Voided) => {
                    tracing::info!(%quote, "quote was cancelled before the answer: its fee will be voided");
                }
                Ok(CallConfirmation::NotPending) => tracing::error!(%quote, "the quote is no longer pending"),
                Err(error) => tracing::error!(%quote, %error, "the destination's answer could not be stored"),
            },
            Sent::Failed { why, may_have_reached } => {
                tracing::error!(%quote, error = why, "the destination did not accept the quote");
                if let Some(compensation) = &self.compensation {
                    compensation.compensate(&sending, &why, may_have_reached).await;
                }
            }
        }
    }
}

#[async_trait]
impl Handover for AfterCommit {
    fn destination(&self) -> QuoteDestination {
        self.sender.destination()
    }

    fn relay(&self) -> Relay {
        self.sender.relay()
    }

    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError> {
        Ok(self.sender.record_news(txn, submissions).await?)
    }

    async fn after_commit(&self, submitted: &Submitted) {
        for sending in self.sender.sendings(std::slice::from_ref(submitted)) {
            self.sender.spawn(self.clone().hand_over(sending));
        }
    }
}
