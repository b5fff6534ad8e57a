//! Transactions. No caller can leave a session inside one.

use std::{ops::Deref, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::{Mutex as StdMutex, MutexGuard as StdMutexGuard};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, sqlx};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, OwnedMutexGuard},
};

use super::{
    batch,
    failure::{cannot_connect, ends_session, failed, timed_out},
    session::GUARDED_COMMIT,
    sessions::{PooledSession, Sessions},
};

/// How long a begin may take. On SQLite it waits for the writers of other processes; its busy handler ends earlier. A dead
/// server is noticed earlier.
const BEGIN_WAIT: Duration = Duration::from_secs(15);
/// The same behind a pooler, where a dead server cannot be noticed otherwise.
const POOLER_BEGIN_WAIT: Duration = Duration::from_secs(4);
/// How long a commit may take: it waits for disks and replicas. A dead server is noticed earlier.
const COMMIT_WAIT: Duration = Duration::from_secs(15);
/// How long a rollback may take. After that the session is closed, which also rolls back.
const ROLLBACK_WAIT: Duration = Duration::from_secs(2);
/// Most times that a begin is sent, each on a fresh session.
const BEGINS_MAX: u32 = 3;
const COMMIT: &str = "COMMIT";
/// Most bytes of a statement, so that no row waits long for the others.
const STATEMENT_BYTES: usize = 512 * 1024;

/// An open transaction.
///
/// After a failed statement, further statements and the commit are refused. PostgreSQL would report success for the commit
/// of such a transaction.
#[derive(Debug)]
pub struct DatabaseTransaction {
    backend: DbBackend,
    begun_at: DateTime<Utc>,
    session: Mutex<PooledSession>,
    /// Statements that are sent with the next one, or with the commit.
    queue: StdMutex<Vec<Statement>>,
    /// Behind a pooler no session has prepared statements.
    sends_at_once: bool,
    /// It is committed as a whole, though its server may have rolled it back.
    is_guarded: bool,
    statement_bytes: usize,
    /// The error of the statement that failed.
    failure: StdMutex<Option<DbErr>>,
}

/// A transaction that may write. Rolled back when dropped.
#[derive(Debug)]
pub struct Transaction {
    inner: Option<DatabaseTransaction>,
    /// The lock of this process's writers of an SQLite file, released after the session was returned.
    writer: Option<OwnedMutexGuard<()>>,
}

/// The purpose of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Snapshot,
}

impl Sessions {
    /// Begins a transaction. If the session turns out to be dead or read-only, another one is used, as nothing was done yet.
    pub(super) async fn begin(
        &self,
        purpose: Purpose,
        writer: Option<OwnedMutexGuard<()>>,
    ) -> Result<Transaction, DbErr> {
        let (mut begins, mut writer) = (1, writer);
        loop {
            let session = self.acquire().await?;
            let (error, lock) = match begin_on(session, purpose, writer).await {
                Ok(begun) => return Ok(begun),
                Err(failed) => failed,
            };
            if begins == BEGINS_MAX || !ends_session(&error) {
                return Err(failed(error));
            }
            writer = lock;
            begins += 1;
        }
    }
}

/// The error of a begin, and the writer lock, which is kept for the next attempt.
type BeginError = (sqlx::Error, Option<OwnedMutexGuard<()>>);

/// Begins in a separate task: if the caller is dropped meanwhile, the transaction is rolled back and the session is kept.
async fn begin_on(
    mut session: PooledSession,
    purpose: Purpose,
    writer: Option<OwnedMutexGuard<()>>,
) -> Result<Transaction, BeginError> {
    let begun = tokio::spawn(async move {
        let opener = session.sessions().opener();
        let backend = opener.backend;
        let sql = match purpose {
            Purpose::Write => opener.begin_writing(&session),
            Purpose::Snapshot => opener.begin_snapshot(),
        };
        let limit = if opener.behind_pooler { POOLER_BEGIN_WAIT } else { BEGIN_WAIT };
        let sends_at_once = backend == DbBackend::Sqlite || opener.behind_pooler;
        let begun_at = match session.begin(&sql, limit).await {
            Ok(begun_at) => begun_at,
            Err(error) => {
                session.check_error(&error);
                return Err((error, writer));
            }
        };
        let statement_bytes = STATEMENT_BYTES.min(session.statement_bytes_max / 2);
        let is_guarded = purpose == Purpose::Write && session.is_of_node;
        let (session, queue, failure) = (Mutex::new(session), StdMutex::default(), StdMutex::default());
        // If the caller is gone, this is dropped, and so rolled back.
        Ok(Transaction {
            inner: Some(DatabaseTransaction {
                backend,
                begun_at,
                session,
                queue,
                sends_at_once,
                is_guarded,
                statement_bytes,
                failure,
            }),
            writer,
        })
    });
    begun.await.unwrap_or_else(|error| Err((aborted(&error), None)))
}

fn aborted(error: &tokio::task::JoinError) -> sqlx::Error {
    timed_out(format!("the task of a transaction was aborted: {error}"))
}

impl Transaction {
    /// Commits, after the statements that wait. After a failed statement it rolls back instead and returns that error.
    ///
    /// # Errors
    /// Any database error. It is unknown whether the commit was done if the session was lost.
    pub async fn commit(mut self) -> Result<(), DbErr> {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        let Some(inner) = inner else { return Ok(()) };
        if let Some(error) = inner.failure() {
            end(inner, writer, "ROLLBACK", ROLLBACK_WAIT).await.ok();
            return Err(error);
        }
        end(inner, writer, COMMIT, COMMIT_WAIT).await.map_err(failed)
    }

    /// Rolls back.
    ///
    /// # Errors
    /// None: a session that cannot roll back is closed, which rolls back too.
    pub async fn rollback(mut self) -> Result<(), DbErr> {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        if let Some(inner) = inner
            && let Err(error) = end(inner, writer, "ROLLBACK", ROLLBACK_WAIT).await
        {
            tracing::debug!(%error, "failed to roll back a transaction; closed its session");
        }
        Ok(())
    }
}

/// Ends the transaction in a separate task, which goes on if the caller is dropped.
async fn end(
    inner: DatabaseTransaction,
    writer: Option<OwnedMutexGuard<()>>,
    sql: &'static str,
    limit: Duration,
) -> Result<(), sqlx::Error> {
    let ended = tokio::spawn(async move {
        let (mut session, is_guarded) = (inner.session.into_inner(), inner.is_guarded);
        let queue = inner.queue.into_inner();
        let queue = if sql == COMMIT { &queue[..] } else { &[] };
        let sql = if sql == COMMIT && is_guarded { GUARDED_COMMIT } else { sql };
        // During a statement, or when it is lost, it can only be closed.
        let ended =
            if session.can_end() { session.end(queue, sql, limit).await } else { Err(sqlx::Error::WorkerCrashed) };
        if let Err(error) = &ended {
            session.check_error(error);
        }
        drop(session);
        drop(writer);
        ended
    });
    ended.await.unwrap_or_else(|error| Err(aborted(&error)))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let (inner, writer) = (self.inner.take(), self.writer.take());
        // Without a runtime, or during a statement, the session is closed.
        if let (Some(inner), Ok(runtime)) = (inner, Handle::try_current()) {
            runtime.spawn(end(inner, writer, "ROLLBACK", ROLLBACK_WAIT));
        }
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        // Taken only by methods that consume the transaction.
        self.inner.as_ref().expect("an open transaction")
    }
}

impl DatabaseTransaction {
    /// Most bytes of rows that a statement should carry. The server accepts at least twice as many.
    #[must_use]
    pub fn statement_bytes(&self) -> usize {
        self.statement_bytes
    }

    /// When it began, by the clock that [`Clock::now`](crate::clock::Clock::now) asks: asked for with the begin, it costs no
    /// round trip.
    pub(super) fn begun_at(&self) -> DateTime<Utc> {
        self.begun_at
    }

    fn failure(&self) -> Option<DbErr> {
        self.failure.lock().clone()
    }

    /// Executes `statement` with the next one, or with the commit, where that saves a round trip. An error of it is that of
    /// what it is sent with.
    ///
    /// # Errors
    /// Any database error.
    pub(crate) async fn execute_later(&self, statement: Statement) -> Result<(), DbErr> {
        if self.sends_at_once || !batch::fits(self.backend, &statement) {
            return self.execute_raw(statement).await.map(drop);
        }
        self.usable(self.session.lock().await)?.check(&statement)?;
        let waiting: usize = self.queue().iter().map(batch::size).sum();
        if waiting + batch::size(&statement) > self.statement_bytes {
            drop(self.session().await?);
        }
        self.queue().push(statement);
        Ok(())
    }

    /// Queries in one message with the statements that wait. Values come as the server writes them in texts: for columns of
    /// text.
    ///
    /// # Errors
    /// Any database error.
    pub(crate) async fn query_with_waiting(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if self.sends_at_once || !batch::fits(self.backend, &statement) {
            return self.query_all_raw(statement).await;
        }
        let mut session = self.usable(self.session.lock().await)?;
        session.check(&statement)?;
        let mut statements = std::mem::take(&mut *self.queue());
        statements.push(statement);
        let rows = session.send_all(&statements).await.map_err(failed);
        self.record(&session, rows)
    }

    fn queue(&self) -> StdMutexGuard<'_, Vec<Statement>> {
        self.queue.lock()
    }

    /// The session, to which nothing is left to send.
    async fn session(&self) -> Result<MutexGuard<'_, PooledSession>, DbErr> {
        let mut session = self.usable(self.session.lock().await)?;
        let waiting = std::mem::take(&mut *self.queue());
        if !waiting.is_empty() {
            let sent = session.send_all(&waiting).await.map_err(failed);
            self.record(&session, sent)?;
        }
        Ok(session)
    }

    fn usable<'a>(&self, session: MutexGuard<'a, PooledSession>) -> Result<MutexGuard<'a, PooledSession>, DbErr> {
        match self.failure() {
            Some(error) => Err(error),
            None if session.can_end() => Ok(session),
            // An earlier statement was dropped before its end.
            None => Err(cannot_connect(sqlx::Error::WorkerCrashed)),
        }
    }

    /// Records the error of a statement, if it failed.
    fn record<T>(&self, session: &PooledSession, done: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &done {
            if let DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error)) = error {
                session.check_error(error);
            }
            *self.failure.lock() = Some(error.clone());
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
        let mut session = self.session().await?;
        let done = session.execute(&statement).await;
        self.record(&session, done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut session = self.session().await?;
        let done = session.simple(sql).await.map_err(failed);
        self.record(&session, done)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut session = self.session().await?;
        let done = session.query(&statement).await;
        self.record(&session, done)
    }
}
