//! The destination is called inside the transaction, which waits for it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::{Sender, sender::Sending, target::Taken};
use crate::{
    database::DatabaseTransaction,
    outbox::Outcome,
    submission::{Listener, ListenerError, Submitted},
};

/// How long a submission waits for its destination: less than its client waits for it (10 s), and less than a database lets
/// a transaction stand idle (15 s).
const PATIENCE: Duration = Duration::from_secs(8);

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

    async fn call(&self, sending: &Sending) -> Result<Taken, ListenerError> {
        let destination = self.sender.destination();
        match self.sender.attempt(sending, false).await {
            Outcome::Delivered(taken) => Ok(taken),
            Outcome::Refused(why) | Outcome::Broken(why) => {
                Err(ListenerError::Refused(format!("{destination} did not take the quote: {why}")))
            }
            outcome => {
                let why = outcome.error().unwrap_or_default();
                Err(ListenerError::Unavailable(format!("{destination} did not take the quote: {why}")))
            }
        }
    }
}

#[async_trait]
impl Listener for InTransaction {
    async fn before_commit(&self, txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        let sendings: Vec<_> = self.sender.sendings(submitted).collect();
        let calls = timeout(PATIENCE, try_join_all(sendings.iter().map(|sending| self.call(sending))));
        let taken = calls.await.map_err(|_| {
            let (destination, patience) = (self.sender.destination(), humantime::format_duration(PATIENCE));
            ListenerError::Unavailable(format!("{destination} did not take all quotes within {patience}"))
        })??;
        let now = self.sender.now(txn).await?;
        for (sending, taken) in sendings.iter().zip(&taken) {
            self.sender.confirm(txn, sending, taken, now).await?;
        }
        Ok(())
    }
}
