//! The destination is called inside the transaction, which waits for it.

use async_trait::async_trait;
use sea_orm::DatabaseTransaction;

use super::Sender;
use crate::{
    outbox::Outcome,
    submission::{Listener, ListenerError, Submitted},
};

/// Calls the destination before the commit. Quote and fee record commit together; but the transaction stays open for as
/// long as the destination takes, one that is away refuses submissions, and a fee or record whose transaction is rolled
/// back afterwards is a ghost.
pub struct InTransaction {
    sender: Sender,
}

impl InTransaction {
    /// One call a quote, by `sender`.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self { sender }
    }
}

#[async_trait]
impl Listener for InTransaction {
    async fn before_commit(&self, txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        for sending in self.sender.sendings(submitted) {
            let taken = match self.sender.attempt(&sending, false).await {
                Outcome::Delivered(taken) => taken,
                outcome => {
                    let (destination, why) = (self.sender.destination(), outcome.error().unwrap_or_default());
                    return Err(ListenerError::Refused(format!("{destination} did not take the quote: {why}")));
                }
            };
            let now = self.sender.now(txn).await?;
            self.sender.confirm(txn, &sending, &taken, now).await?;
        }
        Ok(())
    }
}
