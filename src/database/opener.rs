//! Opens and configures sessions.

mod choice;
mod mariadb;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::{
    DatabaseConnection, DbBackend,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection, PgConnection, Row,
        SqliteConnection,
        pool::PoolOptions,
        postgres::PgConnectOptions,
        raw_sql,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    address::Address,
    failure::{Kind, kind_of},
    peer::Peer,
    servers::Servers,
    session::{Driver, GUARDED_BEGIN, Session},
};
use crate::secret_file::secret_in;
use choice::not_as_wanted;

/// How long a transaction may be idle before the server rolls it back. Longer than a call to a fee server, which one of the
/// strategies makes inside a transaction. Much shorter than the hours that TCP needs to notice a dead or frozen host that
/// holds locks.
const IDLE_TRANSACTION_SECONDS: u32 = 15;
/// How long a statement waits for a lock.
pub(crate) const LOCK_SECONDS: u32 = 10;
/// How long a migration waits for a lock.
const TABLE_SECONDS: u32 = 2;
/// How long SQLite's busy handler waits for the writer of another process.
const BUSY: Duration = Duration::from_secs(10);
/// PostgreSQL and SQLite accept statements of at least this size, in bytes.
const GIGABYTE: usize = 1_000_000_000;

/// The advice if a transaction pooler was detected.
pub(super) const POOLER_HINT: &str =
    "the database is behind a transaction pooler: add ?statement-cache-capacity=0 to database.url";

/// Makes commits on PostgreSQL durable: `synchronous_commit` is raised to `on` where the server's default is weaker, and
/// kept where it is stronger. Followed by the time limits of a transaction.
const POSTGRES_GUARANTEES: &str = "set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') \
    IN ('off', 'local', 'remote_write') THEN 'on' ELSE current_setting('synchronous_commit') END, ";

/// Restricts PostgreSQL's planner (`docs/adr/0017`). After five runs a plan may be cached. One that was made for a table of
/// one page reads the whole table, and is kept while that grows to a backlog. With old statistics, collecting and sorting all
/// matching rows looks as cheap as reading some in order. Every frequent query has an index in its order, so index scans are
/// right at any size. Without an index a query then looks expensive enough for JIT compilation, which is disabled too.
const POSTGRES_PLANS: [&str; 3] = ["enable_seqscan = off", "enable_bitmapscan = off", "jit = off"];

/// A statement whose client hung up ends within a second, and is rolled back: a claim that took too long leases nothing. Servers
/// on Linux can look for their clients (<https://www.postgresql.org/docs/15/runtime-config-connection.html>).
const POSTGRES_LOOKS_FOR_CLIENT: &str = "(SELECT set_config(name, '1s', false) FROM pg_settings \
    WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%')";

/// The time, in microseconds since 1970.
const POSTGRES_NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const MARIADB_NOW: &str = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// Opens sessions with one database.
#[derive(Debug)]
pub(super) struct Opener {
    pub backend: DbBackend,
    pub behind_pooler: bool,
    url: Mutex<SecretString>,
    /// In place of a URL: how a connection that others opened reaches the database.
    address: Option<Address>,
    /// The file that the URL was read from, where its password may be replaced.
    file: Option<PathBuf>,
    /// The place, in the URL, of the server that was right last time.
    preferred: AtomicUsize,
    /// Reads only: a server that accepts no writes is preferred.
    of_replica: bool,
    /// Locked while the server is asked about a session.
    pub questions: tokio::sync::Mutex<()>,
    /// The servers are nodes of a Galera cluster.
    pub is_galera: Arc<AtomicBool>,
    /// `SeaORM`'s own pool, for `LISTEN` and migrations, which gets the same server and credentials.
    pool: DatabaseConnection,
}

impl Opener {
    pub fn new(url: SecretString, file: Option<PathBuf>, pool: DatabaseConnection) -> Self {
        let backend = pool.get_database_backend();
        let shown = url.expose_secret();
        let behind_pooler = backend == DbBackend::Postgres && is_behind_pooler(shown);
        let questions = tokio::sync::Mutex::default();
        let (url, preferred, is_galera) = (Mutex::new(url), AtomicUsize::new(0), Arc::default());
        let (address, of_replica) = (None, false);
        Self { backend, behind_pooler, url, address, file, preferred, of_replica, questions, is_galera, pool }
    }

    /// For reads only.
    pub fn of_replica(url: SecretString, file: Option<PathBuf>, pool: DatabaseConnection) -> Self {
        Self { of_replica: true, ..Self::new(url, file, pool) }
    }

    /// Opens sessions at `address`, the one of `pool`.
    pub fn at(address: Address, pool: DatabaseConnection) -> Self {
        let behind_pooler = address.is_behind_pooler();
        Self { behind_pooler, address: Some(address), ..Self::new(SecretString::default(), None, pool) }
    }

    /// Opens a session and resolves the host name anew. If the server refuses credentials from a file, the file is read
    /// again.
    pub async fn open(self: &Arc<Self>) -> Result<Session, sqlx::Error> {
        match self.open_once().await {
            Err(error) if kind_of(&error) == Kind::Denied && self.read_again() => self.open_once().await,
            opened => opened,
        }
    }

    /// A session with one server, and whether that refuses writes.
    async fn open_at(
        self: &Arc<Self>,
        server: usize,
        url: &SecretString,
        opened: Instant,
    ) -> Result<(Session, bool), sqlx::Error> {
        match &self.address_of(url)? {
            Address::Postgres(options) => self.postgres(server, options, opened).await,
            Address::MariaDb(options) => self.mariadb(server, options, opened).await,
            Address::Sqlite(options) => {
                make_for_owner(url.expose_secret());
                sqlite(options, opened).await.map(|session| (session, false))
            }
        }
    }

    fn address_of(&self, url: &SecretString) -> Result<Address, sqlx::Error> {
        self.address.clone().map_or_else(|| Address::parse(self.backend, url.expose_secret()), Ok)
    }

    /// Reads the file again, and returns whether the URL has changed.
    fn read_again(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let text = match secret_in(file) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(error, "failed to read database.url_file again");
                return false;
            }
        };
        let mut url = self.url.lock();
        if text.expose_secret() == url.expose_secret() {
            return false;
        }
        let scheme = |url: &SecretString| url.expose_secret().split_once(':').map(|(scheme, _)| scheme.to_owned());
        if scheme(&text) != scheme(&url) {
            tracing::warn!("ignored the new database.url_file: another kind of database needs a restart");
            return false;
        }
        *url = text;
        drop(url);
        if let Ok(Servers { urls, .. }) = self.servers()
            && let Some(server) = urls.get(self.preferred.load(Ordering::Relaxed)).or(urls.first())
        {
            self.point_pool_at(server);
        }
        tracing::info!("the database refused the credentials; loaded new ones from database.url_file");
        true
    }

    /// The statement that begins a transaction that may write, and returns the time. It and the session's settings determine everything: nothing
    /// depends on the server's defaults.
    pub fn begin_writing(&self, session: &Session) -> String {
        match self.backend {
            DbBackend::Postgres => {
                let access = if session.asks_for_writes { " READ WRITE" } else { "" };
                self.postgres_begin(&format!("READ COMMITTED{access}"))
            }
            DbBackend::MySql if session.is_of_node => format!("{GUARDED_BEGIN}{MARIADB_NOW}"),
            // Fails at once on a read-only server.
            DbBackend::MySql => format!("START TRANSACTION READ WRITE; {MARIADB_NOW}"),
            // Takes the write lock now: a reader that becomes a writer fails if another process wrote in between.
            _ => "BEGIN IMMEDIATE".into(),
        }
    }

    /// The statement that begins a read-only transaction, which sees one state of the database.
    pub fn begin_snapshot(&self) -> String {
        match self.backend {
            DbBackend::Postgres => self.postgres_begin("REPEATABLE READ READ ONLY"),
            DbBackend::MySql => {
                format!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY; {MARIADB_NOW}")
            }
            _ => "BEGIN".into(),
        }
    }

    /// Runs `sql`, which returns a number, on a new connection to this server of the URL.
    pub async fn ask(&self, server: usize, sql: &str) -> Result<i64, sqlx::Error> {
        let Servers { urls, .. } = self.servers()?;
        let url = urls.get(server).ok_or_else(|| not_as_wanted("database.url has changed"))?;
        let sql = raw_sql(AssertSqlSafe(sql));
        match &self.address_of(url)? {
            Address::Postgres(options) => connect::<PgConnection>(options).await?.fetch_one(sql).await?.try_get(0),
            Address::MariaDb(options) => connect::<MySqlConnection>(options).await?.fetch_one(sql).await?.try_get(0),
            // A file has no server that could be asked.
            Address::Sqlite(_) => Err(sqlx::Error::RowNotFound),
        }
    }

    async fn postgres(
        self: &Arc<Self>,
        server: usize,
        options: &PgConnectOptions,
        opened: Instant,
    ) -> Result<(Session, bool), sqlx::Error> {
        let mut connection = connect::<PgConnection>(options).await?;
        let row = connection.fetch_one(raw_sql(AssertSqlSafe(self.postgres_session()))).await?;
        let (asks_for_writes, prepared, id): (bool, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let is_read_only = row.try_get::<bool, _>(3)? && !asks_for_writes;
        if prepared > 0 {
            // A new connection that has prepared statements comes from a pooler. It is refused, as one client would run what
            // another has prepared.
            return Err(sqlx::Error::Configuration(POOLER_HINT.into()));
        }
        if asks_for_writes && !self.behind_pooler {
            connection.execute("SET default_transaction_read_only = off").await?;
        }
        let mut session = Session::new(Driver::Postgres(Box::new(connection)), opened, GIGABYTE);
        session.asks_for_writes = asks_for_writes;
        // Behind a pooler no server connection belongs to the session.
        let peer = || Peer::new(Arc::clone(self), server, id);
        Ok((if self.behind_pooler { session } else { session.with_peer(peer()) }, is_read_only))
    }

    /// Configures a PostgreSQL session, and queries its state.
    fn postgres_session(&self) -> String {
        // A read-only default of the role or the database is overridden. One in the server's configuration is obeyed: that is
        // how a primary is fenced before another takes over.
        let asks_for_writes = "(SELECT setting = 'on' AND source <> 'configuration file' FROM pg_settings \
                               WHERE name = 'default_transaction_read_only')";
        let id = "pg_backend_pid()::bigint";
        // Also on a standby, where the default may be off.
        let is_read_only = "(current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery())";
        if self.behind_pooler {
            return format!("SELECT {asks_for_writes}, 0::bigint, {id}, {is_read_only}");
        }
        let plans = POSTGRES_PLANS.map(|plan| format!("SET {plan}")).join("; ");
        format!(
            "{plans}; SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'; \
             SET lock_timeout = '{LOCK_SECONDS}s'; \
             SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_SECONDS}s'; \
             SELECT {asks_for_writes}, (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sqlx_s_%'), {id}, \
             {is_read_only}, {POSTGRES_GUARANTEES} false), {POSTGRES_LOOKS_FOR_CLIENT}"
        )
    }

    fn postgres_begin(&self, mode: &str) -> String {
        let begin = format!("BEGIN ISOLATION LEVEL {mode}");
        if !self.behind_pooler {
            return format!("{begin}; {POSTGRES_NOW}");
        }
        // One round trip, which also removes other clients' prepared statements from this server connection.
        let plans = POSTGRES_PLANS.map(|plan| format!("SET LOCAL {plan}")).join("; ");
        format!(
            "{begin}; DEALLOCATE ALL; {plans}; SELECT {POSTGRES_GUARANTEES} true), \
             set_config('lock_timeout', '{LOCK_SECONDS}s', true), \
             set_config('idle_in_transaction_session_timeout', '{IDLE_TRANSACTION_SECONDS}s', true); {POSTGRES_NOW}"
        )
    }
}

/// Opens a connection, whose statements are logged by nobody but us.
async fn connect<C: Connection>(options: &C::Options) -> Result<C, sqlx::Error> {
    C::connect_with(&options.clone().disable_statement_logging()).await
}

async fn sqlite(options: &SqliteConnectOptions, opened: Instant) -> Result<Session, sqlx::Error> {
    let connection = connect::<SqliteConnection>(&sqlite_options(options.clone())).await?;
    Ok(Session::new(Driver::Sqlite(Box::new(connection)), opened, GIGABYTE))
}

/// Makes the file of a new database, which only its owner may read. SQLite gives its `-wal` and `-shm` the same rights. A file
/// that cannot be made is the database's to report.
pub(super) fn make_for_owner(url: &str) {
    if url.starts_with("sqlite:")
        && url.contains("mode=rwc")
        && let Ok(options) = SqliteConnectOptions::from_str(url)
    {
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(options.get_filename());
    }
}

/// Whether a URL of `PostgreSQL` says so, by sqlx's parameter, which its documentation recommends for poolers.
pub(super) fn is_behind_pooler(url: &str) -> bool {
    url.contains("statement-cache-capacity=0")
}

/// A migration that waits for a table has all others wait behind it: it gives up soon, and is tried again by who migrates. Not behind
/// a pooler, where a setting would stay for others.
pub(super) fn with_short_waits_on_postgres(pool: PoolOptions<sqlx::Postgres>) -> PoolOptions<sqlx::Postgres> {
    pool.after_connect(|connection, _| {
        Box::pin(async move {
            let sql = format!("SET lock_timeout = '{TABLE_SECONDS}s'");
            connection.execute(AssertSqlSafe(sql)).await.map(drop)
        })
    })
}

/// The same on `MariaDB`.
pub(super) fn with_short_waits_on_mariadb(pool: PoolOptions<sqlx::MySql>) -> PoolOptions<sqlx::MySql> {
    pool.after_connect(|connection, _| {
        Box::pin(async move {
            let sql = format!(
                "SET SESSION lock_wait_timeout = {TABLE_SECONDS}, SESSION innodb_lock_wait_timeout = {TABLE_SECONDS}"
            );
            connection.execute(AssertSqlSafe(sql)).await.map(drop)
        })
    })
}

/// The options of an SQLite connection.
pub(super) fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode, NORMAL may lose the last commits in a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}
