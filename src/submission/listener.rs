//! The phases of a submission, for reactions that users add.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::database::DatabaseTransaction;
use crate::quotes::Quote;

/// The quotes of one submission.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The quotes, in the order of the call.
    pub quotes: Vec<Quote>,
    /// W3C `traceparent` of the call.
    pub trace_context: Option<String>,
    /// The time of the transaction, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Why a listener failed.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// It refuses this submission, for this reason, which the client gets to see.
    #[error("{0}")]
    Refused(String),
    /// It cannot do its part now, for this reason; the client may repeat the call.
    #[error("{0}")]
    Unavailable(String),
}

/// Reacts to submitted quotes. Each phase does nothing unless it is overridden.
#[async_trait]
pub trait Listener: Send + Sync {
    /// Inside the transaction: what is stored here commits together with the quotes, or not at all.
    ///
    /// # Errors
    /// An error rolls the whole submission back.
    async fn before_commit(&self, _txn: &DatabaseTransaction, _submitted: &Submitted) -> Result<(), ListenerError> {
        Ok(())
    }

    /// After the commit. The process may die before this runs: nothing that must happen belongs here.
    async fn after_commit(&self, _submitted: &Submitted) {}

    /// After a cancellation was committed, which may have stored an event of its own. As above, it may not run.
    async fn after_cancellation(&self, _quote: &Quote) {}

    /// After the transaction was rolled back. Not called when a commit failed, because then it is unknown whether
    /// the quotes are stored.
    async fn after_rollback(&self, _submitted: &Submitted) {}
}
