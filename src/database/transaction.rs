//! A transaction: begun, committed and rolled back so that no caller can leave a session in the middle of it.

use std::{
    ops::Deref,
    sync::{Mutex as StdMutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, sqlx};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, OwnedMutexGuard},
};

use super::{
    failure::{cannot_connect, ends_session, failed, timed_out},
    sessions::{Held, Sessions},
};

/// How long a begin may take. `SQLite`'s waits for the writers of other processes, and its busy handler ends before this;
/// that a server is gone is noticed before.
const BEGIN_WAIT: Duration = Duration::from_secs(15);
/// The same behind a pooler, where nobody can be asked whether the server is gone.
const POOLER_BEGIN_WAIT: Duration = Duration::from_secs(4);
/// How long a commit may take: it waits for disks and replicas. That the server is gone is noticed before.
const COMMIT_WAIT: Duration = Duration::from_secs(15);
/// How long a rollback may take before the session is closed instead, which comes to the same.
const ROLLBACK_WAIT: Duration = Duration::from_secs(2);
/// How often a begin is sent at most, on a fresh session each time.
const BEGINS_MAX: u32 = 3;
/// A statement's bytes are kept below this, so that no row waits long for another.
const STATEMENT_BYTES: usize = 512 * 1024;

/// An open transaction, as what runs inside it sees it.
///
/// A transaction in which a statement failed cannot go on: further statements are refused, and so is the commit. `PostgreSQL`
/// answers the commit of such a transaction as if it were done.
#[derive(Debug)]
pub struct DatabaseTransaction {
    backend: DbBackend,
    held: Mutex<Held>,
    statement_bytes: usize,
    /// The first error of a statement.
    failure: StdMutex<Option<DbErr>>,
}

/// A transaction that may write. Rolled back when dropped.
#[derive(Debug)]
pub struct Transaction {
    inner: Option<DatabaseTransaction>,
    /// Lets this process's next writer of an `SQLite` file go on, when the session is back.
    writer: Option<OwnedMutexGuard<()>>,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Snapshot,
}

impl Sessions {
    /// Begins a transaction, on a fresh session if one turned out dead or read-only: nothing was done yet.
    pub(super) async fn begin(
        &self,
        purpose: Purpose,
        writer: Option<OwnedMutexGuard<()>>,
    ) -> Result<Transaction, DbErr> {
        let (mut begins, mut writer) = (1, writer);
        loop {
            let held = self.acquire().await?;
            let (error, back) = match begin_on(held, purpose, writer).await {
                Ok(begun) => return Ok(begun),
                Err(failed) => failed,
            };
            if begins == BEGINS_MAX || !ends_session(&error) {
                return Err(failed(error));
            }
            writer = back;
            begins += 1;
        }
    }
}

/// What a begin that failed leaves.
type NotBegun = (sqlx::Error, Option<OwnedMutexGuard<()>>);

/// In a task of its own: a caller that goes away in the middle gets its transaction rolled back, and costs no session.
async fn begin_on(
    mut held: Held,
    purpose: Purpose,
    writer: Option<OwnedMutexGuard<()>>,
) -> Result<Transaction, NotBegun> {
    let begun = tokio::spawn(async move {
        let opener = held.sessions().opener();
        let backend = opener.backend;
        let sql = match purpose {
            Purpose::Write => opener.begin_writing(&held),
            Purpose::Snapshot => opener.begin_snapshot(),
        };
        let limit = if opener.behind_pooler { POOLER_BEGIN_WAIT } else { BEGIN_WAIT };
        if let Err(error) = held.begin(&sql, limit).await {
            held.judge(&error);
            return Err((error, writer));
        }
        let statement_bytes = STATEMENT_BYTES.min(held.statement_bytes_max / 2);
        let (held, failure) = (Mutex::new(held), StdMutex::default());
        // Should the caller be gone, this is dropped, and rolled back.
        Ok(Transaction { inner: Some(DatabaseTransaction { backend, held, statement_bytes, failure }), writer })
    });
    begun.await.unwrap_or_else(|error| Err((died(&error), None)))
}

fn died(error: &tokio::task::JoinError) -> sqlx::Error {
    timed_out(format!("the task of a transaction ended early: {error}"))
}

impl Transaction {
    /// Makes it durable. After an error of a statement it is rolled back instead, and that error returned.
    ///
    /// # Errors
    /// Any database error. After one of the commit itself it is unknown whether it is done, except for a conflict.
    pub async fn commit(mut self) -> Result<(), DbErr> {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        let Some(inner) = inner else { return Ok(()) };
        if let Some(error) = inner.failure() {
            end(inner, writer, "ROLLBACK", ROLLBACK_WAIT).await.ok();
            return Err(error);
        }
        end(inner, writer, "COMMIT", COMMIT_WAIT).await.map_err(failed)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// None that matters: a session that cannot roll back is closed, which takes the transaction back.
    pub async fn rollback(mut self) -> Result<(), DbErr> {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        if let Some(inner) = inner
            && let Err(error) = end(inner, writer, "ROLLBACK", ROLLBACK_WAIT).await
        {
            tracing::debug!(%error, "a transaction could not be rolled back; its session is closed");
        }
        Ok(())
    }
}

/// In a task of its own, which goes on when the caller goes away.
async fn end(
    inner: DatabaseTransaction,
    writer: Option<OwnedMutexGuard<()>>,
    sql: &'static str,
    limit: Duration,
) -> Result<(), sqlx::Error> {
    let ended = tokio::spawn(async move {
        let mut held = inner.held.into_inner();
        // In the middle of a statement, or lost, it can only be closed.
        let ended = if held.can_end() { held.end(sql, limit).await } else { Err(sqlx::Error::WorkerCrashed) };
        if let Err(error) = &ended {
            held.judge(error);
        }
        drop(held);
        drop(writer);
        ended
    });
    ended.await.unwrap_or_else(|error| Err(died(&error)))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        // Without a runtime, or with a statement under way, the session is closed.
        if let (Some(inner), Ok(runtime)) = (inner, Handle::try_current()) {
            runtime.spawn(end(inner, writer, "ROLLBACK", ROLLBACK_WAIT));
        }
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        // Taken only by what consumes the transaction.
        self.inner.as_ref().expect("an open transaction")
    }
}

impl DatabaseTransaction {
    /// How many bytes of rows a statement should carry at most; the server takes at least twice that.
    #[must_use]
    pub fn statement_bytes(&self) -> usize {
        self.statement_bytes
    }

    fn failure(&self) -> Option<DbErr> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn session(&self) -> Result<MutexGuard<'_, Held>, DbErr> {
        let held = self.held.lock().await;
        match self.failure() {
            Some(error) => Err(error),
            None if held.can_end() => Ok(held),
            // A statement before it was given up in the middle.
            None => Err(cannot_connect(sqlx::Error::WorkerCrashed)),
        }
    }

    /// Notes what a statement came to.
    fn note<T>(&self, held: &Held, done: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &done {
            if let DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error)) = error {
                held.judge(error);
            }
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
        done
    }
}

#[async_trait]
impl ConnectionTrait for DatabaseTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut held = self.session().await?;
        let done = held.execute(&statement).await;
        self.note(&held, done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut held = self.session().await?;
        let done = held.simple(sql).await.map_err(failed);
        self.note(&held, done)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut held = self.session().await?;
        let done = held.query(&statement).await;
        self.note(&held, done)
    }
}
