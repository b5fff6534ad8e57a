//! The only place that opens sessions with the database.
//!
//! [`Database::transaction`] is the one way to write; [`Connection`] is for reads and single statements. Both get their
//! sessions from a pool of our own (`sessions`), which hands out none that is not clean.

mod condition;
mod connection;
mod failure;
mod fit;
pub(crate) mod insert_each;
mod opener;
mod padded;
mod page;
mod peer;
pub(crate) mod prune_mark;
mod readiness;
mod session;
mod sessions;
mod transaction;
mod unit;
mod unreadable;
pub mod update_each;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectOptions, ConnectionTrait, DbBackend, DbErr};
use secrecy::ExposeSecret;
use tokio::{sync::Mutex, time::timeout};

pub use condition::found_status;
pub use connection::Connection;
pub use failure::{DatabaseFailure, Kind, TooLarge, asks_again, data_fault, is_too_slow, kind, too_large};
pub use fit::{json_bytes, runs};
pub use padded::padded;
pub use page::{Page, SCANNED_MAX, Scan, page, with_value};
pub use readiness::Unready;
pub use transaction::{DatabaseTransaction, Transaction};
pub use unit::Txn;
pub use unreadable::{Listed, read_rows};

use crate::{clock::Clock, settings};
use failure::cannot_connect;
use opener::{Opener, TELL_OF_POOLER};
use readiness::Writes;
use sessions::Sessions;
use transaction::Purpose;

/// How many connections migrations use at most.
const MIGRATION_CONNECTIONS: u32 = 2;

/// A pool of connections, and the clock that goes with its database.
#[derive(Clone, Debug)]
pub struct Database {
    connection: Connection,
    clock: Clock,
    writes: Writes,
    /// `SQLite` has one writer at a time. Its busy handler polls with growing sleeps and so starves some; ours queues
    /// this process's writers fairly and leaves the busy handler to other processes.
    writer: Option<Arc<Mutex<()>>>,
}

impl Database {
    /// Opens nothing yet: a database that is unavailable is no reason not to start.
    ///
    /// # Errors
    /// A URL that names no database that Feebox knows.
    pub async fn connect(settings: &settings::Database) -> Result<Self, DbErr> {
        let mut options = ConnectOptions::new(settings.url.expose_secret());
        options
            .max_connections(MIGRATION_CONNECTIONS)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy(true)
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            .map_sqlx_sqlite_opts(opener::sqlite_options);
        let pool = sea_orm::Database::connect(options).await?;
        let backend = pool.get_database_backend();
        let listeners = (backend == DbBackend::Postgres).then(|| pool.get_postgres_connection_pool().clone());
        let opener = Arc::new(Opener::new(settings.url.clone(), settings.url_file.clone(), backend, listeners));
        let sessions = Sessions::new(opener, settings.max_connections, settings.acquire_timeout);
        let connection = Connection { sessions, pool };
        let writer = (backend == DbBackend::Sqlite).then(Arc::default);
        Ok(Self { connection, clock: Clock::default(), writes: Writes::default(), writer })
    }

    /// For reads and single statements.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The clock of this database.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time that decides, see [`Clock::now`].
    ///
    /// # Errors
    /// What the database answers when it cannot be asked.
    pub async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        self.clock.now(db).await
    }

    /// Begins a transaction that may write, reading what is committed at each statement. Prefer
    /// [`transaction`](Self::transaction), which also runs it again when the database asks for that.
    ///
    /// # Errors
    /// Any database error; nothing is begun.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let writer = match &self.writer {
            Some(writer) => Some(Arc::clone(writer).lock_owned().await),
            None => None,
        };
        self.connection.sessions.begin(Purpose::Write, writer).await
    }

    /// Begins a transaction that only reads, all of it from one state of the database.
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

/// How to mend what made `error`, where that cannot be seen from it.
#[must_use]
pub fn advice(error: &DbErr) -> Option<&'static str> {
    // Our names are numbers, told by each connection for itself: only another's can be in the way, or ours be away.
    error.to_string().contains("prepared statement \"sqlx_s_").then_some(TELL_OF_POOLER)
}

/// What `work` comes to, or an error when it takes longer than `limit`: the database may be unavailable, and its connection
/// dead without either end knowing. What `work` held is given up: a session in the middle of a statement is closed. As after
/// any error of a commit, it is unknown then whether it was done.
///
/// # Errors
/// Those of `work`, and that it took too long.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(cannot_connect(session::too_long(limit))))
}
