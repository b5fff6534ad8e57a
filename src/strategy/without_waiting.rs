//! The destination is called without waiting for it: before the commit, or after it.

use std::{slice, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;

use super::{
    Sender,
    compensation::Compensation,
    sender::{Sending, Sent},
    target::Acceptance,
};
use crate::{
    database::DatabaseTransaction,
    quotes::{CallConfirmation, QuoteDestination, Relay},
    submission::{Handover, ListenerError, Submitted},
};

/// How often the answer to a call before the commit is tried to store, because its quote may not be committed yet, and the
/// pause after each attempt.
const ATTEMPTS_MAX: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// Calls the destination asynchronously. Only this process's memory knows that the call is still to be made, so a crash in
/// between loses it.
#[derive(Clone)]
pub(super) struct WithoutWaiting {
    pub(super) sender: Sender,
    pub(super) start: Start,
}

/// When the call is started.
#[derive(Clone)]
pub(super) enum Start {
    /// To be measured, not to be used: whether the transaction commits is not known when the call is made, so a rollback
    /// leaves a ghost.
    BeforeCommit,
    /// No ghosts: the quote is stored. With a compensation, a call that failed for good cancels the quote.
    AfterCommit(Option<Compensation>),
}

impl WithoutWaiting {
    fn start(&self, submissions: &[Submitted]) {
        for sending in self.sender.sendings(submissions) {
            self.sender.spawn(self.clone().hand_over(sending));
        }
    }

    async fn hand_over(self, sending: Sending) {
        let quote = sending.quote_id;
        match self.sender.send(&sending).await {
            Sent::Accepted(acceptance) => self.store(&sending, &acceptance).await,
            Sent::Failed { why, may_have_reached } => {
                tracing::error!(%quote, error = why, "the destination did not accept the quote");
                if let Start::AfterCommit(Some(compensation)) = &self.start {
                    compensation.compensate(&sending, &why, may_have_reached).await;
                }
            }
        }
    }

    async fn store(&self, sending: &Sending, acceptance: &Acceptance) {
        let quote = sending.quote_id;
        for _ in 0..ATTEMPTS_MAX {
            match self.sender.store(sending, acceptance).await {
                Ok(CallConfirmation::Confirmed) => return tracing::debug!(%quote, "confirmed"),
                Ok(CallConfirmation::Voided) => {
                    return tracing::info!(%quote, "quote was cancelled before the answer: its fee will be voided");
                }
                Ok(CallConfirmation::NotPending) if matches!(self.start, Start::BeforeCommit) => {
                    sleep(ATTEMPT_PAUSE).await;
                }
                Ok(CallConfirmation::NotPending) => return tracing::error!(%quote, "the quote is no longer pending"),
                Err(error) => return tracing::error!(%quote, %error, "the destination's answer could not be stored"),
            }
        }
        tracing::error!(%quote, "ghost: the destination accepted a quote that was rolled back");
    }
}

#[async_trait]
impl Handover for WithoutWaiting {
    fn destination(&self) -> QuoteDestination {
        self.sender.destination()
    }

    fn relay(&self) -> Relay {
        self.sender.relay()
    }

    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError> {
        self.sender.record_news(txn, submissions).await?;
        if matches!(self.start, Start::BeforeCommit) {
            self.start(submissions);
        }
        Ok(())
    }

    async fn after_commit(&self, submitted: &Submitted) {
        if matches!(self.start, Start::AfterCommit(_)) {
            self.start(slice::from_ref(submitted));
        }
    }
}
