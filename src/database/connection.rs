//! Single statements, also where a pooler gives each transaction another server.

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    IntoDatabaseExecutor, QueryResult, Statement, TransactionTrait, sqlx::postgres::PgPool,
};

/// A pool of connections, for reads and single statements.
///
/// Behind a transaction pooler such as `PgBouncer` a server changes its client after each transaction, and a client its
/// server. The client prepares its statements under names that begin at one on each connection, and remembers which are
/// prepared: there the name is taken already, unknown, or another client's statement. So `database.url` says
/// `statement-cache-capacity=0`; then nothing is remembered, each statement gets a transaction of its own, and each
/// transaction begins with clean names.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) pool: DatabaseConnection,
    pub(super) behind_pooler: bool,
}

impl Connection {
    /// Which database it is.
    #[must_use]
    pub fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    /// Whether a transaction pooler stands before the database.
    #[must_use]
    pub fn is_behind_pooler(&self) -> bool {
        self.behind_pooler
    }

    /// The pool, to listen on one of its connections.
    ///
    /// # Panics
    /// If the database is not `PostgreSQL`.
    #[must_use]
    pub fn postgres_pool(&self) -> &PgPool {
        self.pool.get_postgres_connection_pool()
    }

    /// A transaction of its own for one statement.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let txn = self.pool.begin().await?;
        clean_names(&txn).await?;
        Ok(txn)
    }
}

/// Frees the names under which other clients have prepared statements at this server.
pub(super) async fn clean_names(txn: &DatabaseTransaction) -> Result<(), DbErr> {
    txn.execute_unprepared("DEALLOCATE ALL").await.map(drop)
}

#[async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        if !self.behind_pooler {
            return self.pool.execute_raw(statement).await;
        }
        let txn = self.begin().await?;
        let done = txn.execute_raw(statement).await?;
        txn.commit().await?;
        Ok(done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        if !self.behind_pooler {
            return self.pool.query_one_raw(statement).await;
        }
        let txn = self.begin().await?;
        let row = txn.query_one_raw(statement).await?;
        txn.commit().await?;
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if !self.behind_pooler {
            return self.pool.query_all_raw(statement).await;
        }
        let txn = self.begin().await?;
        let rows = txn.query_all_raw(statement).await?;
        txn.commit().await?;
        Ok(rows)
    }
}

/// Migrations take it as it is: they are for a straight connection.
impl<'c> IntoDatabaseExecutor<'c> for &'c Connection {
    fn into_database_executor(self) -> DatabaseExecutor<'c> {
        DatabaseExecutor::Connection(&self.pool)
    }
}
