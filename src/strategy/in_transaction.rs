//! The destination is called inside the transaction, which waits for it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::{Sender, sender::Sending, target::Acceptance};
use crate::{
    database::DatabaseTransaction,
    outbox::Outcome,
    quotes::{self, QuoteDestination, Relay},
    submission::{Handover, ListenerError, Submitted},
};

/// How long a submission waits for its destination: less than its client waits for it (10 s), and less than a database lets
/// a transaction be idle (15 s).
const PATIENCE: Duration = Duration::from_secs(8);

/// Calls the destination before the commit. Quote and fee record commit together. But the transaction stays open for as long
/// as the destination takes, submissions fail while it is unavailable, and a fee or record whose transaction is rolled back
/// afterwards is a ghost.
pub(super) struct InTransaction {
    pub(super) sender: Sender,
}

impl InTransaction {
    async fn call(&self, sending: &Sending) -> Result<Acceptance, ListenerError> {
        let destination = self.sender.destination().name();
        match self.sender.attempt(sending, false).await {
            Outcome::Delivered(acceptance) => Ok(acceptance),
            outcome => {
                let why = outcome.error().unwrap_or_default();
                let why = format!("{destination} did not take the quote: {why}");
                let is_final = matches!(outcome, Outcome::Refused(_) | Outcome::Broken(_));
                Err(if is_final { ListenerError::Refused(why) } else { ListenerError::Unavailable(why) })
            }
        }
    }
}

#[async_trait]
impl Handover for InTransaction {
    fn destination(&self) -> QuoteDestination {
        self.sender.destination()
    }

    fn relay(&self) -> Relay {
        self.sender.relay()
    }

    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError> {
        self.sender.record_news(txn, submissions).await?;
        let sendings: Vec<_> = self.sender.sendings(submissions).collect();
        let calls = timeout(PATIENCE, try_join_all(sendings.iter().map(|sending| self.call(sending))));
        let accepted = calls.await.map_err(|_| {
            let (destination, patience) = (self.sender.destination().name(), humantime::format_duration(PATIENCE));
            ListenerError::Unavailable(format!("{destination} did not take all quotes within {patience}"))
        })??;
        let now = self.sender.now(txn).await?;
        let accepted: Vec<_> =
            sendings.iter().zip(&accepted).map(|(sending, acceptance)| sending.accepted(acceptance)).collect();
        Ok(quotes::confirm(txn, self.relay(), self.sender.destination(), &accepted, now).await?)
    }

    async fn after_commit(&self, _submitted: &Submitted) {}
}
