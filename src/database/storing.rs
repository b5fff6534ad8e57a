//! Transactions in which rows are stored: our own, and those of a service that embeds the outbox.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::DatabaseTransaction;

/// Most bytes of a statement in a transaction of others, whose server's limit is not known: half of the smallest limit that
/// MariaDB has shipped with.
const STATEMENT_BYTES: usize = 512 * 1024;

/// A transaction in which rows are stored. They exist if and only if it commits.
#[async_trait]
pub trait Storing: ConnectionTrait {
    /// Most bytes of rows that a statement should carry.
    fn statement_bytes(&self) -> usize;

    /// Executes `statement` now, or with what follows in this transaction.
    ///
    /// # Errors
    /// Any database error. That of a statement that waits is the error of what it is sent with.
    async fn store(&self, statement: Statement) -> Result<(), DbErr>;
}

#[async_trait]
impl Storing for DatabaseTransaction {
    fn statement_bytes(&self) -> usize {
        self.statement_bytes()
    }

    async fn store(&self, statement: Statement) -> Result<(), DbErr> {
        self.execute_later(statement).await
    }
}

#[async_trait]
impl Storing for sea_orm::DatabaseTransaction {
    fn statement_bytes(&self) -> usize {
        STATEMENT_BYTES
    }

    async fn store(&self, statement: Statement) -> Result<(), DbErr> {
        self.execute_raw(statement).await.map(drop)
    }
}
