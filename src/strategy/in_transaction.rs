//! The fee server is called inside the transaction, which waits for it.

use async_trait::async_trait;
use sea_orm::DatabaseTransaction;

use super::{Sender, sender::Sending};
use crate::{
    destination::Receipt,
    fees,
    outbox::Outcome,
    quotes::{self, Status},
    relay::What,
    submission::{Listener, ListenerError, Submitted},
};

/// Calls the fee server before the commit. Quote and fee record commit together; but the transaction stays open for as
/// long as the fee server takes, a fee server that is away refuses submissions, and a fee whose transaction is rolled
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
        for sending in Sending::each_of(submitted) {
            let fee = match self.sender.attempt(&sending, false).await {
                Outcome::Delivered(Receipt::Fee(fee)) => fee,
                outcome => {
                    let why = outcome.error().unwrap_or("it answered with no fee");
                    return Err(ListenerError::Refused(format!("the fee server made no fee: {why}")));
                }
            };
            let now = self.sender.now(txn).await?;
            fees::store(txn, std::iter::once((sending.key, &fee)), now).await?;
            quotes::advance(txn, [sending.quote_id], &[Status::Pending], Status::Confirmed, None, now).await?;
            self.sender.tell(txn, now, &sending, What::FeeCreated(&fee)).await?;
        }
        Ok(())
    }
}
