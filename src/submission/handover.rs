//! How submitted quotes reach their destination.

use async_trait::async_trait;

use super::{ListenerError, Submitted};
use crate::{
    database::DatabaseTransaction,
    quotes::{QuoteDestination, Relay},
};

/// Hands submitted quotes over to their destination: by the outbox ([`OutboxRecorder`](super::OutboxRecorder)), or by one
/// of the strategies that do without. Without one, a stored quote would never get its fee, so a submission needs it.
#[async_trait]
pub trait Handover: Send + Sync {
    /// Who has to accept each quote before it is confirmed.
    fn destination(&self) -> QuoteDestination;

    /// Stores the news of quotes that are cancelled.
    fn relay(&self) -> Relay;

    /// Whether the quotes of several calls may share a transaction. Not if more than the database is waited for inside it.
    fn shares_transactions(&self) -> bool {
        false
    }

    /// Inside the transaction that stores the quotes of `submissions`. All of these have the same time.
    ///
    /// # Errors
    /// An error rolls all of them back.
    async fn before_commit(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), ListenerError>;

    /// After the commit. The process may die before this runs.
    async fn after_commit(&self, submitted: &Submitted);
}
