//! Single statements.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rand::RngExt;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseExecutor, DbBackend, DbErr, ExecResult, IntoDatabaseExecutor,
    QueryResult, RuntimeErr, Statement, sqlx::postgres::PgPool,
};
use tokio::time::sleep;

use super::{
    failure::{Kind, failed, kind},
    sessions::Sessions,
    transaction::Purpose,
};

/// For how long a statement is sent again.
const TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is sent at most.
const SENDS_MAX: u32 = 8;
/// The longest pause before it is sent again.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The sessions with the database, for reads and single statements. Each statement is a transaction of its own.
///
/// What the database did not do is sent again: after a conflict, at a server that is read-only and, if the statement only
/// reads, after the loss of its session.
///
/// Behind a transaction pooler such as `PgBouncer` a server changes its client after each transaction, and a client its
/// server. The client prepares its statements under names that begin at one on each connection, and remembers which are
/// prepared: there the name is taken already, unknown, or another client's statement. So `database.url` says
/// `statement-cache-capacity=0`; then nothing is remembered, each statement gets a transaction of its own, and each
/// transaction begins with clean names.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) sessions: Sessions,
    /// `SeaORM`'s own pool, for migrations; and, on `PostgreSQL`, how to connect in order to listen. It opens nothing until
    /// it is used.
    pub(super) pool: DatabaseConnection,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Sent<'a> {
    Execute(&'a Statement),
    Query(&'a Statement),
    AsItIs(&'a str),
}

/// What comes back.
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

    /// Whether a transaction pooler stands before the database.
    #[must_use]
    pub fn is_behind_pooler(&self) -> bool {
        self.sessions.opener().behind_pooler
    }

    /// The pool, to listen on one of its connections.
    ///
    /// # Panics
    /// If the database is not `PostgreSQL`.
    #[must_use]
    pub fn postgres_pool(&self) -> &PgPool {
        self.pool.get_postgres_connection_pool()
    }

    async fn send(&self, sent: Sent<'_>) -> Result<Answer, DbErr> {
        let begun = Instant::now();
        let mut sends = 1;
        loop {
            let error = match self.send_once(sent).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match kind(&error) {
                Kind::Conflict | Kind::ReadOnly => true,
                // Not where no session was to be had: that was waited for.
                Kind::Unavailable => sent.only_reads() && matches!(error, DbErr::Exec(_)),
                _ => false,
            };
            let pause = rand::rng().random_range(Duration::ZERO..PAUSE_MAX);
            if !again || sends == SENDS_MAX || begun.elapsed() + pause > TIME_MAX {
                return Err(error);
            }
            sleep(pause).await;
            sends += 1;
        }
    }

    async fn send_once(&self, sent: Sent<'_>) -> Result<Answer, DbErr> {
        if self.is_behind_pooler() && !matches!(sent, Sent::AsItIs(_)) {
            let txn = self.sessions.begin(Purpose::Write, None).await?;
            let answer = match sent {
                Sent::Execute(statement) => txn.execute_raw(statement.clone()).await.map(Answer::Done)?,
                Sent::Query(statement) => txn.query_all_raw(statement.clone()).await.map(Answer::Rows)?,
                Sent::AsItIs(sql) => txn.execute_unprepared(sql).await.map(Answer::Done)?,
            };
            txn.commit().await?;
            return Ok(answer);
        }
        let mut held = self.sessions.acquire().await?;
        let answer = match sent {
            Sent::Execute(statement) => held.execute(statement).await.map(Answer::Done),
            Sent::Query(statement) => held.query(statement).await.map(Answer::Rows),
            Sent::AsItIs(sql) => held.simple(sql).await.map(Answer::Done).map_err(failed),
        };
        if let Err(DbErr::Exec(RuntimeErr::SqlxError(error))) = &answer {
            held.judge(error);
        }
        answer
    }

    async fn execute_sent(&self, sent: Sent<'_>) -> Result<ExecResult, DbErr> {
        match self.send(sent).await? {
            Answer::Done(done) => Ok(done),
            Answer::Rows(_) => Err(DbErr::RecordNotFound("rows came back where none were asked for".into())),
        }
    }
}

impl Sent<'_> {
    /// Whether sending it twice is the same as once.
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
        self.execute_sent(Sent::Execute(&statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_sent(Sent::AsItIs(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self.send(Sent::Query(&statement)).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Done(_) => Ok(Vec::new()),
        }
    }
}

/// Migrations take it as it is: they are for a straight connection.
impl<'c> IntoDatabaseExecutor<'c> for &'c Connection {
    fn into_database_executor(self) -> DatabaseExecutor<'c> {
        DatabaseExecutor::Connection(&self.pool)
    }
}
