//! The only place that opens a pool.

mod connection;
mod transaction;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, DbBackend, DbErr, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
    sqlx::{
        self, Executor, Row,
        pool::PoolOptions,
        postgres::PgPoolOptions,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use secrecy::ExposeSecret;
use tokio::{sync::Mutex, time::timeout};

pub use connection::Connection;
pub use transaction::{DatabaseFailure, Txn, Transaction, asks_again};

use crate::{clock::Clock, settings, telemetry::metrics};

/// A connection that has rested for so long may have been cut meanwhile, and is tested before its use: a test before each
/// would cost a round trip.
const REST_MAX: Duration = Duration::from_secs(5);
/// A connection that does not answer a ping for so long is taken to be dead.
const PING_WAIT: Duration = Duration::from_secs(1);
/// For how long a transaction may stand idle before its server takes it back. Longer than a call to a fee server, which
/// one of the strategies makes inside; short beside the hours after which TCP would notice a host that is gone or frozen
/// with locks in its hands.
const IDLE_TRANSACTION_SECONDS: u32 = 15;

/// A pool of connections, and the clock that goes with its database.
#[derive(Clone, Debug)]
pub struct Database {
    connection: Connection,
    clock: Clock,
    /// `SQLite` has one writer at a time. Its busy handler polls with growing sleeps and so starves some; ours queues
    /// this process's writers fairly and leaves the busy handler to other processes.
    writer: Option<Arc<Mutex<()>>>,
}

impl Database {
    /// Opens the pool lazily: a database that is away is no reason not to start.
    ///
    /// # Errors
    /// A URL that names no database that Feebox knows.
    pub async fn connect(settings: &settings::Database) -> Result<Self, DbErr> {
        let url = settings.url.expose_secret();
        // sqlx's own parameter, and its own advice for poolers.
        let behind_pooler = url.starts_with("postgres") && url.contains("statement-cache-capacity=0");
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy(true)
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            .map_sqlx_sqlite_opts(|options| {
                options
                    .journal_mode(SqliteJournalMode::Wal)
                    // In WAL mode NORMAL may lose the last commits at a power cut. They are revenue.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(Duration::from_secs(10))
            })
            .map_sqlx_postgres_pool_opts(move |pool| postgres_session(watched(pool), behind_pooler))
            .map_sqlx_mysql_pool_opts(|pool| {
                // MariaDB's default, repeatable read, locks gaps: claims and inserts would wait for each other.
                let session = format!(
                    "SET SESSION tx_isolation = 'READ-COMMITTED', SESSION innodb_lock_wait_timeout = 10, \
                     SESSION idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS}"
                );
                watched(pool).after_connect(move |connection, _| {
                    let session = sqlx::AssertSqlSafe(session.clone());
                    Box::pin(async move { connection.execute(session).await.map(drop) })
                })
            });
        let mut pool = sea_orm::Database::connect(options).await?;
        pool.set_metric_callback(|_| metrics::database_statement());
        let writer = (pool.get_database_backend() == DbBackend::Sqlite).then(Arc::default);
        let connection = Connection { pool, behind_pooler };
        Ok(Self { connection, clock: Clock::default(), writer })
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

    /// Begins a transaction that may write, reading what is committed at each statement.
    ///
    /// # Errors
    /// What the database answers when it is away or busy for too long.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let writer = match &self.writer {
            Some(writer) => Some(Arc::clone(writer).lock_owned().await),
            None => None,
        };
        let options = match self.connection.get_database_backend() {
            // Reserved at the begin: a reader that turns writer fails at once when somebody wrote in between.
            DbBackend::Sqlite => TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            },
            _ => TransactionOptions::default(),
        };
        let inner = self.connection.pool.begin_with_options(options).await?;
        if self.connection.behind_pooler {
            connection::clean_names(&inner).await?;
        }
        Ok(Transaction::new(inner, writer))
    }

    /// Begins a transaction that only reads, all of it from one state of the database.
    ///
    /// # Errors
    /// What the database answers when it is away.
    pub async fn snapshot(&self) -> Result<Transaction, DbErr> {
        if self.connection.behind_pooler {
            let inner = self.connection.pool.begin().await?;
            inner.execute_unprepared("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            connection::clean_names(&inner).await?;
            return Ok(Transaction::new(inner, None));
        }
        let options = match self.connection.get_database_backend() {
            DbBackend::Sqlite => TransactionOptions::default(),
            _ => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        };
        let inner = self.connection.pool.begin_with_options(options).await?;
        Ok(Transaction::new(inner, None))
    }

    /// Closes the pool.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn close(self) -> Result<(), DbErr> {
        self.connection.pool.close().await
    }
}

/// What an operator is told who did not tell of a pooler.
const TELL_OF_POOLER: &str =
    "a transaction pooler stands before the database: add ?statement-cache-capacity=0 to database.url";

/// How to mend what made `error`, where that cannot be seen from it.
#[must_use]
pub fn advice(error: &DbErr) -> Option<&'static str> {
    // Our names are numbers, told by each connection for itself: only another's can be in the way, or ours be away.
    error.to_string().contains("prepared statement \"sqlx_s_").then_some(TELL_OF_POOLER)
}

/// A pool that keeps no connection that is dead. A network can lose a connection without either end being told, and whoever
/// asks on it waits for ever: so each is tested when it comes back, which is also when somebody gave up waiting on it (see
/// [`within`]), and again when it has rested.
fn watched<DB: sqlx::Database>(pool: PoolOptions<DB>) -> PoolOptions<DB> {
    pool.test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { if meta.idle_for < REST_MAX { Ok(true) } else { answers(connection).await } })
        })
        .after_release(|connection, _| Box::pin(answers(connection)))
}

/// What each session with `PostgreSQL` begins with. A server that has statements of ours on a connection that is new to us
/// is shared with others by a pooler: that is refused, lest one client runs what another has prepared.
fn postgres_session(pool: PgPoolOptions, behind_pooler: bool) -> PgPoolOptions {
    pool.after_connect(move |connection, _| {
        Box::pin(async move {
            let session = format!("SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_SECONDS}s'");
            connection.execute(sqlx::AssertSqlSafe(session)).await?;
            if behind_pooler {
                return Ok(());
            }
            let ours = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sqlx_s_%'";
            let ours: i64 = connection.fetch_one(sqlx::raw_sql(ours)).await?.try_get(0)?;
            let mend =
                "a transaction pooler stands before the database: add ?statement-cache-capacity=0 to database.url";
            if ours == 0 { Ok(()) } else { Err(sqlx::Error::Configuration(mend.into())) }
        })
    })
}

async fn answers(connection: &mut impl sqlx::Connection) -> Result<bool, sqlx::Error> {
    timeout(PING_WAIT, connection.ping()).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    Ok(true)
}

/// What `work` comes to, or an error when it takes longer than `limit`: the database may be away, and its connection
/// dead without anybody being told. As after any error of a commit, it is unknown then whether it was done.
///
/// # Errors
/// Those of `work`, and that it took too long.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    let too_long =
        || DbErr::Custom(format!("the database did not answer within {}", humantime::format_duration(limit)));
    timeout(limit, work).await.unwrap_or_else(|_| Err(too_long()))
}
