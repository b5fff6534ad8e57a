//! The only module that opens database sessions.
//!
//! [`Database::transaction`] is the way to write; [`Connection`] is for reads and single statements. Both take their
//! sessions from our own pool (`sessions`), which hands out clean sessions only (`docs/adr/0012`).

mod address;
mod batch;
mod condition;
mod connection;
mod failure;
mod fit;
pub(crate) mod insert_each;
mod opener;
mod options;
mod padded;
mod page;
mod peer;
pub(crate) mod prune_mark;
mod readiness;
mod replica;
mod servers;
mod session;
mod sessions;
mod storing;
mod transaction;
mod unit;
mod unreadable;
pub mod update_each;

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

pub use condition::found_status;
pub use connection::Connection;
pub use failure::{
    DatabaseFailure, Kind, TooLarge, bad_data, is_refused, is_too_slow, kind, lacks_right, lacks_table, too_large,
};
pub use fit::{json_bytes, runs};
pub use options::{Options, ReplicaOptions};
pub use padded::padded;
pub use page::{Page, SCANNED_MAX, Scan, page, with_value};
pub use readiness::Unready;
pub use replica::{Stale, StaleReads, Unusable};
pub(crate) use servers::{Servers, with_all_hosts};
pub use storing::Storing;
pub use transaction::{DatabaseTransaction, Transaction};
pub use unit::Txn;
pub use unreadable::{Listed, read_rows, reading};

use crate::clock::Clock;
use address::Shared;
use failure::cannot_connect;
pub(crate) use opener::LOCK_SECONDS;
use opener::{Opener, POOLER_HINT};
use readiness::Writes;
use sessions::Sessions;
use transaction::Purpose;

/// Most connections that migrations use.
const MIGRATION_CONNECTIONS: u32 = 2;

/// A pool of sessions, and the database's clock.
#[derive(Clone, Debug)]
pub struct Database {
    connection: Connection,
    clock: Clock,
    writes: Writes,
    sessions_max: usize,
}

impl Database {
    /// Connects lazily, so that Feebox starts while the database is unavailable.
    ///
    /// # Errors
    /// An invalid URL, or one of an unsupported database.
    pub async fn connect(settings: &Options) -> Result<Self, DbErr> {
        Self::open(settings, Opener::new).await
    }

    /// The same for a replica: of several servers one that accepts no writes is preferred.
    async fn connect_to_replica(replica: &ReplicaOptions) -> Result<Self, DbErr> {
        let ReplicaOptions { url, url_file, max_connections, acquire_timeout, .. } = replica.clone();
        let options = Options { url, url_file, max_connections, acquire_timeout, replica: None };
        Self::open(&options, Opener::of_replica).await
    }

    async fn open(
        settings: &Options,
        opener: impl FnOnce(SecretString, Option<PathBuf>, DatabaseConnection) -> Opener,
    ) -> Result<Self, DbErr> {
        let servers = Servers::of(&settings.url).map_err(|problem| DbErr::Custom(problem.to_owned()))?;
        let first = servers.urls.first().unwrap_or(&settings.url);
        let mut options = ConnectOptions::new(first.expose_secret());
        options
            .max_connections(MIGRATION_CONNECTIONS)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy(true)
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            .map_sqlx_sqlite_opts(opener::sqlite_options)
            .map_sqlx_mysql_pool_opts(opener::with_short_waits_on_mariadb);
        if !opener::is_behind_pooler(first.expose_secret()) {
            options.map_sqlx_postgres_pool_opts(opener::with_short_waits_on_postgres);
        }
        // Before migrations, whose pool opens it first.
        opener::make_for_owner(settings.url.expose_secret());
        let pool = sea_orm::Database::connect(options).await?;
        let opener = Arc::new(opener(settings.url.clone(), settings.url_file.clone(), pool.clone()));
        Ok(Self::with(opener, pool, settings.max_connections, settings.acquire_timeout))
    }

    /// The database of `connection`, by sessions of its own: as many as that pool may open, with the same credentials. It connects
    /// when it is used. Behind a transaction pooler, `connection` needs `statement-cache-capacity=0`, as `database.url` does.
    ///
    /// # Errors
    /// `connection` is a mock, or is not connected.
    pub fn beside(connection: &DatabaseConnection) -> Result<Self, DbErr> {
        let Shared { address, sessions_max, wait_max } = Shared::of(connection)?;
        Ok(Self::with(Arc::new(Opener::at(address, connection.clone())), connection.clone(), sessions_max, wait_max))
    }

    fn with(opener: Arc<Opener>, pool: DatabaseConnection, sessions_max: u32, wait_max: Duration) -> Self {
        let writer = (opener.backend == DbBackend::Sqlite).then(Arc::default);
        let clock = Clock::of_nodes_if(Arc::clone(&opener.is_galera));
        let connection = Connection { sessions: Sessions::new(opener, sessions_max, wait_max), writer, pool };
        let sessions_max = usize::try_from(sessions_max).unwrap_or(1);
        Self { connection, clock, writes: Writes::default(), sessions_max }
    }

    /// Finds the server that is wanted, if the URL names several. For migrations, which have a pool of their own.
    ///
    /// # Errors
    /// None of them is as wanted, or any database error.
    pub async fn find(&self) -> Result<(), DbErr> {
        self.connection.sessions.acquire().await.map(drop)
    }

    /// For reads and single statements.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The most sessions that this process opens.
    #[must_use]
    pub fn sessions_max(&self) -> usize {
        self.sessions_max
    }

    /// How many of the sessions are in use, and how many there may be.
    #[must_use]
    pub fn sessions_in_use(&self) -> (usize, usize) {
        (self.sessions_max.saturating_sub(self.connection.sessions.free()), self.sessions_max)
    }

    /// Whether transactions that write wait for each other, as on SQLite.
    #[must_use]
    pub fn has_one_writer(&self) -> bool {
        self.connection.writer.is_some()
    }

    /// The same database for callers of one kind, who use at most so many of the sessions at a time: whatever they do, the
    /// others find a free one.
    #[must_use]
    pub fn share(&self, sessions_max: usize) -> Self {
        let connection =
            Connection { sessions: self.connection.sessions.share(sessions_max), ..self.connection.clone() };
        Self { connection, ..self.clone() }
    }

    /// The clock of this database.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The authoritative time, see [`Clock::now`].
    ///
    /// # Errors
    /// Any database error.
    pub async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        self.clock.now(db).await
    }

    /// When `txn` began, by the authoritative clock. For what is stored before the transaction waits for anybody.
    #[must_use]
    pub fn begun_at(&self, txn: &DatabaseTransaction) -> DateTime<Utc> {
        self.clock.shift(txn.begun_at())
    }

    /// Begins a transaction that may write, at isolation level "read committed". Prefer
    /// [`transaction`](Self::transaction), which also retries it.
    ///
    /// # Errors
    /// Any database error; no transaction is open then.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let writer = self.connection.turn().await;
        self.connection.sessions.begin(Purpose::Write, writer).await
    }

    /// Begins a read-only transaction, which sees one state of the database.
    ///
    /// # Errors
    /// Any database error.
    pub async fn snapshot(&self) -> Result<Transaction, DbErr> {
        self.connection.sessions.begin(Purpose::Snapshot, None).await
    }

    /// Closes the sessions.
    ///
    /// # Errors
    /// Any database error.
    pub async fn close(self) -> Result<(), DbErr> {
        self.connection.sessions.close().await;
        self.connection.pool.close().await
    }
}

/// How to fix the cause of `error`, where the error does not say it.
#[must_use]
pub fn advice(error: &DbErr) -> Option<&'static str> {
    // Each connection numbers its prepared statements. A clash or a missing one means that a pooler swapped connections.
    error.to_string().contains("prepared statement \"sqlx_s_").then_some(POOLER_HINT)
}

/// Runs `work`, and fails if it takes longer than `limit`: the connection may be dead without either end noticing. A session
/// in the middle of a statement is closed. As after a failed commit, it is then unknown whether the work was done.
///
/// # Errors
/// Those of `work`, and a timeout.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(cannot_connect(session::too_long(limit))))
}
