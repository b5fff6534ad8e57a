//! A session: one connection to the database, and whether it is fit to be used again.

use std::time::{Duration, Instant};

use sea_orm::{
    DbErr, ExecResult, QueryResult, Statement,
    sea_query::Values,
    sqlx::{
        self, AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, SqliteConnection, query::Query,
        raw_sql,
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::time::timeout;

use super::{
    failure::{ends_session, failed, timed_out},
    fit,
    peer::Peer,
};
use crate::telemetry::metrics;

/// Whose connection it is.
#[derive(Debug)]
pub(super) enum Driver {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// One connection. It keeps count by itself of what it is in: the drivers count a transaction after they have waited for
/// its begin, and go on counting one that `SQLite` has rolled back by itself.
#[derive(Debug)]
pub(super) struct Session {
    driver: Driver,
    /// When opening it began.
    pub opened: Instant,
    /// When it was last handed back.
    pub used: Instant,
    /// The largest statement that the server takes, in bytes.
    pub statement_bytes_max: usize,
    /// The server's default is read-only transactions, for this role or database: each has to ask for more.
    pub asks_for_writes: bool,
    /// The server's end, where there is a network in between.
    peer: Option<Peer>,
    marks: Marks,
}

/// What a session is in.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// A statement is under way. Still so when it comes back: its caller went away in the middle.
    under_way: bool,
    /// A transaction may be open.
    in_transaction: bool,
    /// It failed in a way after which nobody knows its state.
    lost: bool,
}

/// Runs an expression with the connection, whichever driver's it is.
macro_rules! on_driver {
    ($session:expr, $connection:ident => $done:expr) => {{
        $session.marks.under_way = true;
        let driver = &mut $session.driver;
        // Boxed, because a future that may become any of three drivers' is large.
        let work = Box::pin(async move {
            match driver {
                Driver::Postgres($connection) => $done,
                Driver::MySql($connection) => $done,
                Driver::Sqlite($connection) => $done,
            }
        });
        let done = match &$session.peer {
            Some(peer) => peer.watch(work).await,
            None => work.await,
        };
        $session.marks.under_way = false;
        if done.as_ref().is_err_and(|error| ends_session(error)) {
            $session.marks.lost = true;
        }
        done
    }};
}

impl Session {
    pub fn new(driver: Driver, opened: Instant, statement_bytes_max: usize) -> Self {
        let used = Instant::now();
        let (peer, asks_for_writes) = (None, false);
        let marks = Marks::default();
        Self { driver, opened, used, statement_bytes_max, asks_for_writes, peer, marks }
    }

    /// The same, with what is known of the server's end.
    pub fn with_peer(self, peer: Peer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Whether the next caller finds it as if it were new.
    pub fn is_clean(&self) -> bool {
        !(self.marks.under_way || self.marks.in_transaction || self.marks.lost)
    }

    /// Whether a transaction on it can still be ended in order.
    pub fn can_end(&self) -> bool {
        !(self.marks.under_way || self.marks.lost)
    }

    pub fn is_lost(&self) -> bool {
        self.marks.lost
    }

    pub async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.check(statement)?;
        on_driver!(self, it => prepared(statement).execute(&mut **it).await.map(ExecResult::from)).map_err(failed)
    }

    /// All rows are read, also by callers who want one: an error may come behind the first, and belongs to this statement.
    pub async fn query(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.check(statement)?;
        on_driver!(self, it => {
            prepared(statement).fetch_all(&mut **it).await.map(|rows| rows.into_iter().map(QueryResult::from).collect())
        })
        .map_err(failed)
    }

    /// Sends `sql` as it is, which may be several statements.
    pub async fn simple(&mut self, sql: &str) -> Result<ExecResult, sqlx::Error> {
        on_driver!(self, it => it.execute(raw_sql(AssertSqlSafe(sql))).await.map(ExecResult::from))
    }

    /// Begins a transaction by `sql`, which may take `limit`.
    pub async fn begin(&mut self, sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        debug_assert!(self.is_clean(), "a session was handed out in the middle of something");
        self.marks.in_transaction = true;
        self.limited(sql, limit).await
    }

    /// Ends the transaction by `sql`, which may take `limit`. After an error it is unknown what became of the transaction,
    /// and the session is not used again: if the transaction is still open, the database rolls it back.
    pub async fn end(&mut self, sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        self.limited(sql, limit).await?;
        self.marks.in_transaction = false;
        Ok(())
    }

    async fn limited(&mut self, sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        let done = timeout(limit, self.simple(sql)).await.unwrap_or_else(|_| Err(too_long(limit)));
        done.map(drop).inspect_err(|_| self.marks.lost = true)
    }

    /// Whether it answers within `limit`.
    pub async fn answers(&mut self, limit: Duration) -> bool {
        // Its future may be dropped: the mark stays, and the session is closed.
        let answer = timeout(limit, async { on_driver!(self, it => it.ping().await) }).await;
        matches!(answer, Ok(Ok(())))
    }

    /// Takes leave in order. A session that is dropped instead is cut.
    pub async fn close(self) {
        let closed = match self.driver {
            Driver::Postgres(it) => (*it).close().await,
            Driver::MySql(it) => (*it).close().await,
            Driver::Sqlite(it) => (*it).close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a session could not be closed in order");
        }
    }

    fn check(&self, statement: &Statement) -> Result<(), DbErr> {
        metrics::database_statement();
        // The others take a gigabyte.
        if matches!(self.driver, Driver::MySql(_)) { fit::check(statement, self.statement_bytes_max) } else { Ok(()) }
    }
}

pub(super) fn too_long(limit: Duration) -> sqlx::Error {
    timed_out(format!("the database did not answer within {}", humantime::format_duration(limit)))
}

fn prepared<DB>(statement: &Statement) -> Query<'_, DB, SqlxValues>
where
    DB: sqlx::Database,
    SqlxValues: sqlx::IntoArguments<DB>,
{
    let values = statement.values.clone().unwrap_or_else(|| Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
}
