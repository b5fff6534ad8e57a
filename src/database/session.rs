//! A session: one connection to the database, and whether it can be reused.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sea_orm::{
    DbBackend, DbErr, ExecResult, QueryResult, Statement,
    sea_query::Values,
    sqlx::{
        self, AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row, SqliteConnection, query::Query,
        raw_sql,
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::time::timeout;

use super::{
    batch::Prepared,
    failure::{ends_session, failed, timed_out},
    fit,
    peer::Peer,
};
use crate::telemetry::metrics;

/// The driver's connection.
#[derive(Debug)]
pub(super) enum Driver {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// One connection. It tracks its state itself: the drivers count a transaction only after its begin was answered, and still
/// count one that SQLite has rolled back by itself.
#[derive(Debug)]
pub(super) struct Session {
    driver: Driver,
    /// When its opening began.
    pub opened: Instant,
    /// When it was last returned to the pool.
    pub used: Instant,
    /// The server's limit for a statement, in bytes.
    pub statement_bytes_max: usize,
    /// This role's or database's default is read-only: each transaction must ask for writes.
    pub asks_for_writes: bool,
    /// Its server is a node of a Galera cluster, see [`GUARDED_COMMIT`].
    pub is_of_node: bool,
    /// Statements wait for a commit, also outside of a transaction.
    commits_by_hand: bool,
    prepared: Prepared,
    /// The server's end, if there is a network in between.
    peer: Option<Peer>,
    state: State,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// A statement is running. If the session is returned like this, its caller was dropped during the statement.
    is_running: bool,
    /// A transaction may be open.
    in_transaction: bool,
    /// It failed, and its state is unknown.
    is_lost: bool,
}

/// Begins a transaction on a Galera node, which rolls one back that conflicts with another node's, whenever that arrives. It tells the client by the
/// error of the next statement. What follows would else be stored without what came before, if that error were lost: so statements are not
/// committed by themselves, and the commit needs the beginning's mark.
pub(super) const GUARDED_BEGIN: &str = "SET SESSION autocommit = 0; START TRANSACTION READ WRITE; SAVEPOINT feebox; ";
/// Commits what began with [`GUARDED_BEGIN`], and nothing else.
pub(super) const GUARDED_COMMIT: &str = "RELEASE SAVEPOINT feebox; COMMIT";

/// Runs an expression with the connection of any driver.
macro_rules! on_driver {
    ($session:expr, $connection:ident => $done:expr) => {{
        $session.state.is_running = true;
        let driver = &mut $session.driver;
        // Boxed, because a future of any of three drivers is large.
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
        $session.state.is_running = false;
        if done.as_ref().is_err_and(|error| ends_session(error)) {
            $session.state.is_lost = true;
        }
        done
    }};
}

impl Session {
    pub fn new(driver: Driver, opened: Instant, statement_bytes_max: usize) -> Self {
        let used = Instant::now();
        let (peer, prepared) = (None, Prepared::default());
        let (asks_for_writes, is_of_node, commits_by_hand) = (false, false, false);
        let state = State::default();
        Self {
            driver,
            opened,
            used,
            statement_bytes_max,
            asks_for_writes,
            is_of_node,
            commits_by_hand,
            prepared,
            peer,
            state,
        }
    }

    /// The same, with the server's end.
    pub fn with_peer(self, peer: Peer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Whether it can be reused as if it were new.
    pub fn is_clean(&self) -> bool {
        !(self.state.is_running || self.state.in_transaction || self.state.is_lost)
    }

    /// Whether a transaction on it can still be committed or rolled back.
    pub fn can_end(&self) -> bool {
        !(self.state.is_running || self.state.is_lost)
    }

    pub fn is_lost(&self) -> bool {
        self.state.is_lost
    }

    pub async fn execute(&mut self, statement: &Statement) -> Result<ExecResult, DbErr> {
        self.check(statement)?;
        self.commit_each().await.map_err(failed)?;
        on_driver!(self, it => prepared(statement).execute(&mut **it).await.map(ExecResult::from)).map_err(failed)
    }

    /// Reads all rows, even if the caller wants one: an error may follow the first row, and belongs to this statement.
    pub async fn query(&mut self, statement: &Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.check(statement)?;
        self.commit_each().await.map_err(failed)?;
        on_driver!(self, it => {
            prepared(statement).fetch_all(&mut **it).await.map(|rows| rows.into_iter().map(QueryResult::from).collect())
        })
        .map_err(failed)
    }

    /// Sends `sql` unprepared. It may hold several statements.
    pub async fn simple(&mut self, sql: &str) -> Result<ExecResult, sqlx::Error> {
        self.commit_each().await?;
        on_driver!(self, it => it.execute(raw_sql(AssertSqlSafe(sql))).await.map(ExecResult::from))
    }

    /// Single statements are committed by themselves again, after transactions that are not.
    async fn commit_each(&mut self) -> Result<(), sqlx::Error> {
        if self.commits_by_hand && !self.state.in_transaction {
            on_driver!(self, it => it.execute(raw_sql("SET SESSION autocommit = 1")).await.map(ExecResult::from))?;
            self.commits_by_hand = false;
        }
        Ok(())
    }

    /// Begins a transaction with `sql`, within `limit`. Returns the server's time, which `sql` selects last in microseconds
    /// since 1970, or on SQLite, which is this host's, its time.
    pub async fn begin(&mut self, sql: &str, limit: Duration) -> Result<DateTime<Utc>, sqlx::Error> {
        debug_assert!(self.is_clean(), "the pool handed out a session that is not clean");
        self.state.in_transaction = true;
        self.commits_by_hand |= sql.starts_with(GUARDED_BEGIN);
        let begun = timeout(limit, self.begun(sql)).await.unwrap_or_else(|_| Err(too_long(limit)));
        begun.inspect_err(|_| self.state.is_lost = true)
    }

    async fn begun(&mut self, sql: &str) -> Result<DateTime<Utc>, sqlx::Error> {
        if matches!(self.driver, Driver::Sqlite(_)) {
            return self.simple(sql).await.map(|_| Utc::now());
        }
        let microseconds: i64 = on_driver!(self, it => {
            // All of them are read: the last one is of the last statement.
            let rows = it.fetch_all(raw_sql(AssertSqlSafe(sql))).await;
            rows.and_then(|rows| rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0))
        })?;
        DateTime::from_timestamp_micros(microseconds)
            .ok_or_else(|| sqlx::Error::Protocol("the server's time is out of range".into()))
    }

    /// Sends `statements` in one message, and returns the rows that they return.
    pub async fn send_all(&mut self, statements: &[Statement]) -> Result<Vec<QueryResult>, sqlx::Error> {
        self.send(statements, "").await
    }

    /// Ends the transaction with `sql`, within `limit`, after `statements`. If one of these fails, the transaction is rolled
    /// back. After any other error its state is unknown, and the session is closed: if the transaction is still open, the
    /// database rolls it back.
    pub async fn end(&mut self, statements: &[Statement], sql: &str, limit: Duration) -> Result<(), sqlx::Error> {
        let sent = timeout(limit, self.send(statements, sql)).await.unwrap_or_else(|_| Err(too_long(limit)));
        let refused = match sent {
            Err(sqlx::Error::Database(error))
                if self.can_end() && (!statements.is_empty() || sql == GUARDED_COMMIT) =>
            {
                error
            }
            sent => {
                sent.inspect_err(|_| self.state.is_lost = true)?;
                self.state.in_transaction = false;
                return Ok(());
            }
        };
        let rolled_back = timeout(limit, self.simple("ROLLBACK")).await;
        match rolled_back {
            Ok(Ok(_)) => self.state.in_transaction = false,
            _ => self.state.is_lost = true,
        }
        Err(sqlx::Error::Database(refused))
    }

    async fn send(&mut self, statements: &[Statement], end: &str) -> Result<Vec<QueryResult>, sqlx::Error> {
        let backend = match self.driver {
            Driver::Postgres(_) => DbBackend::Postgres,
            Driver::MySql(_) => DbBackend::MySql,
            Driver::Sqlite(_) => DbBackend::Sqlite,
        };
        let message = self.prepared.message(backend, statements, end);
        let text = message.text.as_str();
        let rows = on_driver!(self, it => {
            let rows = it.fetch_all(raw_sql(AssertSqlSafe(text))).await;
            rows.map(|rows| rows.into_iter().map(QueryResult::from).collect())
        })?;
        self.prepared.succeeded(message);
        Ok(rows)
    }

    /// Whether it answers within `limit`.
    pub async fn answers(&mut self, limit: Duration) -> bool {
        // If the future is dropped, the session stays marked as running and is closed.
        let answer = timeout(limit, async { on_driver!(self, it => it.ping().await) }).await;
        matches!(answer, Ok(Ok(())))
    }

    /// Closes it gracefully. Dropping a session cuts the connection.
    pub async fn close(self) {
        let closed = match self.driver {
            Driver::Postgres(it) => (*it).close().await,
            Driver::MySql(it) => (*it).close().await,
            Driver::Sqlite(it) => (*it).close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "failed to close a database session gracefully");
        }
    }

    pub fn check(&self, statement: &Statement) -> Result<(), DbErr> {
        metrics::database_statement();
        // The others accept a gigabyte.
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
