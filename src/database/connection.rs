//! Single statements.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::RngExt;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseExecutor, DbBackend, DbErr, ExecResult, IntoDatabaseExecutor,
    QueryResult, RuntimeErr, Statement, sqlx::postgres::PgPool,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::sleep,
};

use super::{
    failure::{Kind, failed, kind},
    sessions::Sessions,
    transaction::Purpose,
};

/// How long a statement is retried.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Most times that it is sent.
const SENDS_MAX: u32 = 8;
/// The longest pause before a retry.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Runs reads and single statements. Each statement is its own transaction.
///
/// A statement that was not executed is retried: after a conflict, at a read-only server and, if it only reads, after a lost
/// session.
///
/// Behind a transaction pooler such as PgBouncer, clients and server connections change partners after each transaction.
/// The driver prepares statements under names that are numbered per connection, and remembers which are prepared. On another
/// server connection such a name may be unknown or belong to another client's statement. So `database.url` must contain
/// `statement-cache-capacity=0`: then nothing is remembered, each statement runs in its own transaction, and each transaction
/// begins with `DEALLOCATE ALL`.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) sessions: Sessions,
    /// SQLite has one writer at a time. Its busy handler polls with growing pauses, which starves some writers: a single statement
    /// beside transactions that follow each other as well. This lock queues the writers of this process fairly; the busy handler is left for
    /// other processes.
    pub(super) writer: Option<Arc<Mutex<()>>>,
    /// `SeaORM`'s own pool, for migrations and, on PostgreSQL, for `LISTEN`. It connects when it is used.
    pub(super) pool: DatabaseConnection,
}

/// A statement to send.
#[derive(Clone, Copy)]
enum Request<'a> {
    Execute(&'a Statement),
    Query(&'a Statement),
    Unprepared(&'a str),
}

/// The answer to a request.
enum Answer {
    Done(ExecResult),
    Rows(Vec<QueryResult>),
}

impl Connection {
    /// Which database it is.
    #[must_use]
    pub fn get_database_backend(&self) -> DbBackend {
        self.sessions.opener().backend
    }

    /// Whether a transaction pooler is in front of the database.
    #[must_use]
    pub fn is_behind_pooler(&self) -> bool {
        self.sessions.opener().behind_pooler
    }

    /// The pool whose connections listen for notifications.
    ///
    /// # Panics
    /// If the database is not PostgreSQL.
    #[must_use]
    pub fn postgres_pool(&self) -> &PgPool {
        self.pool.get_postgres_connection_pool()
    }

    /// Waits for this process's other writers, on SQLite.
    pub(super) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.writer {
            Some(writer) => Some(Arc::clone(writer).lock_owned().await),
            None => None,
        }
    }

    async fn send(&self, request: Request<'_>) -> Result<Answer, DbErr> {
        let begun = Instant::now();
        let mut sends = 1;
        loop {
            let error = match self.send_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let retry = match kind(&error) {
                Kind::Conflict | Kind::ReadOnly => true,
                // Not if no session could be opened: that was retried already.
                Kind::Unavailable => request.only_reads() && matches!(error, DbErr::Exec(_)),
                _ => false,
            };
            let pause = rand::rng().random_range(Duration::ZERO..PAUSE_MAX);
            if !retry || sends == SENDS_MAX || begun.elapsed() + pause > TIME_MAX {
                return Err(error);
            }
            sleep(pause).await;
            sends += 1;
        }
    }

    async fn send_once(&self, request: Request<'_>) -> Result<Answer, DbErr> {
        if self.is_behind_pooler() && !matches!(request, Request::Unprepared(_)) {
            let txn = self.sessions.begin(Purpose::Write, None).await?;
            let answer = match request {
                Request::Execute(statement) => txn.execute_raw(statement.clone()).await.map(Answer::Done)?,
                Request::Query(statement) => txn.query_all_raw(statement.clone()).await.map(Answer::Rows)?,
                Request::Unprepared(sql) => txn.execute_unprepared(sql).await.map(Answer::Done)?,
            };
            txn.commit().await?;
            return Ok(answer);
        }
        let _turn = if matches!(request, Request::Execute(_)) { self.turn().await } else { None };
        let mut session = self.sessions.acquire().await?;
        let answer = match request {
            Request::Execute(statement) => session.execute(statement).await.map(Answer::Done),
            Request::Query(statement) => session.query(statement).await.map(Answer::Rows),
            Request::Unprepared(sql) => session.simple(sql).await.map(Answer::Done).map_err(failed),
        };
        if let Err(DbErr::Exec(RuntimeErr::SqlxError(error))) = &answer {
            session.check_error(error);
        }
        answer
    }

    async fn run(&self, request: Request<'_>) -> Result<ExecResult, DbErr> {
        match self.send(request).await? {
            Answer::Done(done) => Ok(done),
            Answer::Rows(_) => Err(DbErr::RecordNotFound("a statement without a result returned rows".into())),
        }
    }
}

impl Request<'_> {
    /// Whether it may be sent twice.
    fn only_reads(self) -> bool {
        let (Self::Execute(Statement { sql, .. }) | Self::Query(Statement { sql, .. })) = self else { return false };
        sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
    }
}

#[async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        self.sessions.opener().backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.run(Request::Execute(&statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.run(Request::Unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self.send(Request::Query(&statement)).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Done(_) => Ok(Vec::new()),
        }
    }
}

/// For migrations, which need a direct connection.
impl<'c> IntoDatabaseExecutor<'c> for &'c Connection {
    fn into_database_executor(self) -> DatabaseExecutor<'c> {
        DatabaseExecutor::Connection(&self.pool)
    }
}
