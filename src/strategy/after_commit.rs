//! The fee server is called after the commit, and nobody waits for it.

use async_trait::async_trait;

use super::{
    Compensation, Sender,
    sender::{Sending, Sent, Stored},
};
use crate::submission::{Listener, Submitted};

/// Calls the fee server after the commit, asynchronously. No ghosts: the quote is stored. But that the call is still to
/// be made stands nowhere but in this process's memory, so a death in between loses the fee.
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

    async fn bring_fee(self, sending: Sending) {
        let quote = sending.quote_id;
        match self.sender.send(&sending).await {
            Sent::Fee(fee) => match self.sender.store(&sending, &fee).await {
                Ok(Stored::Confirmed) => tracing::debug!(%quote, "confirmed"),
                Ok(Stored::Voided) => tracing::info!(%quote, "cancelled meanwhile: its fee is voided"),
                Ok(Stored::NoQuote) => tracing::error!(%quote, "the quote is not pending any more"),
                Err(error) => tracing::error!(%quote, %error, "the fee was made and not stored"),
            },
            Sent::Failed { why, may_have_reached } => {
                tracing::error!(%quote, error = why, "no fee could be made");
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
        for sending in Sending::each_of(submitted) {
            self.sender.spawn(self.clone().bring_fee(sending));
        }
    }
}
