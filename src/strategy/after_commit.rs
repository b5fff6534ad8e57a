//! The destination is called after the commit, and nobody waits for it.

use async_trait::async_trait;

use super::{
    Compensation, Sender,
    sender::{Sending, Sent, Stored},
};
use crate::submission::{Listener, Submitted};

/// Calls the destination after the commit, asynchronously. No ghosts: the quote is stored. But that the call is still to
/// be made stands nowhere but in this process's memory, so a death in between loses it.
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
            Sent::Taken(taken) => match self.sender.store(&sending, &taken).await {
                Ok(Stored::Confirmed) => tracing::debug!(%quote, "confirmed"),
                Ok(Stored::Voided) => {
                    tracing::info!(%quote, "cancelled meanwhile: what its destination did is taken back");
                }
                Ok(Stored::NoQuote) => tracing::error!(%quote, "the quote is not pending any more"),
                Err(error) => tracing::error!(%quote, %error, "taken, and the answer not stored"),
            },
            Sent::Failed { why, may_have_reached } => {
                tracing::error!(%quote, error = why, "its destination did not take it");
                if let Some(compensation) = &self.compensation {
                    compensation.compensate(&sending, &why, may_have_reached).await;
                }
            }
        }
    }
}

#[async_trait]
impl Listener for AfterCommit {
    async fn after_commit(&self, submitted: &Submitted) {
        for sending in self.sender.sendings(submitted) {
            self.sender.spawn(self.clone().hand_over(sending));
        }
    }
}
