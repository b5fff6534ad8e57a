//! How a session is opened, and what it is told first.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    DbBackend,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection, PgConnection, Row,
        SqliteConnection,
        mysql::MySqlConnectOptions,
        postgres::{PgConnectOptions, PgPool},
        raw_sql,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    failure::{Kind, kind_of},
    peer::Peer,
    session::{Driver, Session},
};

/// For how long a transaction may stay idle before its server takes it back. Longer than a call to a fee server, which
/// one of the strategies makes inside; short beside the hours after which TCP would notice a host that is gone or frozen
/// with locks in its hands.
const IDLE_TRANSACTION_SECONDS: u32 = 15;
/// How long a statement waits for a lock.
const LOCK_SECONDS: u32 = 10;
/// How long `SQLite`'s busy handler waits for the writer of another process.
const BUSY: Duration = Duration::from_secs(10);
/// What `PostgreSQL` and `SQLite` take as one statement at least.
const GIGABYTE: usize = 1_000_000_000;

/// What an operator is told who did not tell of a pooler.
pub(super) const TELL_OF_POOLER: &str =
    "a transaction pooler stands before the database: add ?statement-cache-capacity=0 to database.url";

/// The time limits of a transaction on `PostgreSQL`, and that its commit is durable: raised to `on` where the server's
/// default is less, and kept where it is more.
const POSTGRES_GUARANTEES: &str = "set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') \
    IN ('off', 'local', 'remote_write') THEN 'on' ELSE current_setting('synchronous_commit') END, ";

/// How `PostgreSQL` plans. A plan may be kept after five runs of its statement. Made while the table had one page, it reads all
/// of it, and nothing renews it while that grows to a backlog; by statistics from before the backlog, to collect all matching
/// rows and sort them looks as cheap as to read some in order. All that is asked often has an index in the order of its
/// answer: without the other two choices a plan is right at any size. What has none then looks so dear that it would be
/// compiled.
const POSTGRES_PLANS: [&str; 3] = ["enable_seqscan = off", "enable_bitmapscan = off", "jit = off"];

/// Opens sessions with one database.
#[derive(Debug)]
pub(super) struct Opener {
    pub backend: DbBackend,
    pub behind_pooler: bool,
    url: Mutex<SecretString>,
    /// Where the URL came from, if from a file: its password may be replaced there.
    file: Option<PathBuf>,
    /// Held by whoever asks the server about a session.
    pub questions: tokio::sync::Mutex<()>,
    /// What listens on `PostgreSQL` opens its own connections, with the same credentials.
    listeners: Option<PgPool>,
}

impl Opener {
    pub fn new(url: SecretString, file: Option<PathBuf>, backend: DbBackend, listeners: Option<PgPool>) -> Self {
        let shown = url.expose_secret();
        // sqlx's own parameter, and its own advice for poolers.
        let behind_pooler = backend == DbBackend::Postgres && shown.contains("statement-cache-capacity=0");
        let questions = tokio::sync::Mutex::default();
        Self { backend, behind_pooler, url: Mutex::new(url), file, questions, listeners }
    }

    /// Opens a session. The host's name is resolved anew. Where the server refuses our credentials and they came from a
    /// file, that is read again.
    pub async fn open(self: &Arc<Self>) -> Result<Session, sqlx::Error> {
        match self.open_once().await {
            Err(error) if kind_of(&error) == Kind::Denied && self.read_again() => self.open_once().await,
            opened => opened,
        }
    }

    async fn open_once(self: &Arc<Self>) -> Result<Session, sqlx::Error> {
        let url = self.url();
        // Told before: what is distrusted while it is opened led to the same place.
        let opened = Instant::now();
        match self.backend {
            DbBackend::Postgres => self.postgres(url.expose_secret(), opened).await,
            DbBackend::MySql => self.mariadb(url.expose_secret(), opened).await,
            _ => sqlite(url.expose_secret(), opened).await,
        }
    }

    /// Tells whether there is another URL now.
    fn read_again(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => SecretString::from(text.trim_end_matches(['\r', '\n'])),
            Err(error) => {
                tracing::warn!(%error, "database.url_file could not be read again");
                return false;
            }
        };
        let mut url = self.url.lock().unwrap_or_else(PoisonError::into_inner);
        if text.expose_secret() == url.expose_secret() {
            return false;
        }
        let scheme = |url: &SecretString| url.expose_secret().split_once(':').map(|(scheme, _)| scheme.to_owned());
        if scheme(&text) != scheme(&url) {
            tracing::warn!("database.url_file names another kind of database now; that needs a restart");
            return false;
        }
        if let Some(pool) = &self.listeners
            && let Ok(options) = PgConnectOptions::from_str(text.expose_secret())
        {
            pool.set_connect_options(options);
        }
        *url = text;
        tracing::info!("the database refused the credentials; read database.url_file again");
        true
    }

    /// The statement that begins a transaction that may write. What must hold in it is said here, or was said to the
    /// session: nothing depends on the defaults of the server.
    pub fn begin_writing(&self, session: &Session) -> String {
        match self.backend {
            DbBackend::Postgres => {
                let access = if session.asks_for_writes { " READ WRITE" } else { "" };
                self.postgres_begin(&format!("READ COMMITTED{access}"))
            }
            // A server that is read-only says so at once.
            DbBackend::MySql => "START TRANSACTION READ WRITE".into(),
            // Reserved at the begin: a reader that turns writer fails at once when somebody wrote in between.
            _ => "BEGIN IMMEDIATE".into(),
        }
    }

    /// The statement that begins a transaction that only reads, all of it from one state of the database.
    pub fn begin_snapshot(&self) -> String {
        match self.backend {
            DbBackend::Postgres => self.postgres_begin("REPEATABLE READ READ ONLY"),
            DbBackend::MySql => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY".into(),
            _ => "BEGIN".into(),
        }
    }

    /// A number that the server answers to `sql`, on a connection of its own.
    pub async fn ask(&self, sql: &str) -> Result<i64, sqlx::Error> {
        let url = self.url();
        let sql = raw_sql(AssertSqlSafe(sql));
        if self.backend == DbBackend::Postgres {
            let mut connection = PgConnection::connect_with(&postgres_options(url.expose_secret())?).await?;
            return connection.fetch_one(sql).await?.try_get(0);
        }
        let mut connection = MySqlConnection::connect_with(&mariadb_options(url.expose_secret())?).await?;
        connection.fetch_one(sql).await?.try_get(0)
    }

    fn url(&self) -> SecretString {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn postgres(self: &Arc<Self>, url: &str, opened: Instant) -> Result<Session, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&postgres_options(url)?).await?;
        let told = connection.fetch_one(raw_sql(AssertSqlSafe(self.postgres_session()))).await?;
        let (asks_for_writes, prepared, id): (bool, i64, i64) = (told.try_get(0)?, told.try_get(1)?, told.try_get(2)?);
        if prepared > 0 {
            // A server that has statements of ours on a connection that is new to us is shared with others by a pooler. That
            // is refused: one client would run what another has prepared.
            return Err(sqlx::Error::Configuration(TELL_OF_POOLER.into()));
        }
        if asks_for_writes && !self.behind_pooler {
            connection.execute("SET default_transaction_read_only = off").await?;
        }
        let mut session = Session::new(Driver::Postgres(Box::new(connection)), opened, GIGABYTE);
        session.asks_for_writes = asks_for_writes;
        // Behind a pooler a session has no server of its own.
        Ok(if self.behind_pooler { session } else { session.with_peer(Peer::new(Arc::clone(self), id)) })
    }

    /// What a session with `PostgreSQL` is told, and asked.
    fn postgres_session(&self) -> String {
        // A default of the role or the database is a default, and no reason to refuse quotes. One in the server's own
        // configuration is how a primary is fenced off before another takes over: that is obeyed.
        let asks_for_writes = "(SELECT setting = 'on' AND source <> 'configuration file' FROM pg_settings \
                               WHERE name = 'default_transaction_read_only')";
        let id = "pg_backend_pid()::bigint";
        if self.behind_pooler {
            return format!("SELECT {asks_for_writes}, 0::bigint, {id}");
        }
        let plans = POSTGRES_PLANS.map(|plan| format!("SET {plan}")).join("; ");
        format!(
            "{plans}; SET default_transaction_isolation = 'read committed'; SET lock_timeout = '{LOCK_SECONDS}s'; \
             SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_SECONDS}s'; \
             SELECT {asks_for_writes}, (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sqlx_s_%'), {id}, \
             {POSTGRES_GUARANTEES} false)"
        )
    }

    async fn mariadb(self: &Arc<Self>, url: &str, opened: Instant) -> Result<Session, sqlx::Error> {
        let mut connection = MySqlConnection::connect_with(&mariadb_options(url)?).await?;
        // MariaDB's default isolation, repeatable read, locks gaps: claims and inserts would wait for each other. In strict
        // mode a value that does not fit is an error, and is not stored as zero.
        let session = format!(
            "SET SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN', SESSION tx_isolation = 'READ-COMMITTED', \
             SESSION tx_read_only = 0, SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, \
             SESSION idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS}, SESSION unique_checks = 1, \
             SESSION foreign_key_checks = 1, SESSION sql_select_limit = DEFAULT, SESSION sql_mode = \
             'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'"
        );
        connection.execute(AssertSqlSafe(session)).await?;
        let question = "SELECT CAST(@@max_allowed_packet AS SIGNED), CAST(CONNECTION_ID() AS SIGNED)";
        let told = connection.fetch_one(raw_sql(question)).await?;
        let (packet, id): (i64, i64) = (told.try_get(0)?, told.try_get(1)?);
        let session =
            Session::new(Driver::MySql(Box::new(connection)), opened, usize::try_from(packet).unwrap_or(GIGABYTE));
        Ok(session.with_peer(Peer::new(Arc::clone(self), id)))
    }

    fn postgres_begin(&self, mode: &str) -> String {
        let begin = format!("BEGIN ISOLATION LEVEL {mode}");
        if !self.behind_pooler {
            return begin;
        }
        // One round trip. The names under which other clients have prepared statements at this server are freed.
        let plans = POSTGRES_PLANS.map(|plan| format!("SET LOCAL {plan}")).join("; ");
        format!(
            "{begin}; DEALLOCATE ALL; {plans}; SELECT {POSTGRES_GUARANTEES} true), \
             set_config('lock_timeout', '{LOCK_SECONDS}s', true), \
             set_config('idle_in_transaction_session_timeout', '{IDLE_TRANSACTION_SECONDS}s', true)"
        )
    }
}

fn postgres_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.disable_statement_logging())
}

fn mariadb_options(url: &str) -> Result<MySqlConnectOptions, sqlx::Error> {
    Ok(MySqlConnectOptions::from_str(url)?.disable_statement_logging())
}

async fn sqlite(url: &str, opened: Instant) -> Result<Session, sqlx::Error> {
    let options = sqlite_options(SqliteConnectOptions::from_str(url)?).disable_statement_logging();
    let connection = SqliteConnection::connect_with(&options).await?;
    Ok(Session::new(Driver::Sqlite(Box::new(connection)), opened, GIGABYTE))
}

/// How an `SQLite` file is opened.
pub(super) fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode NORMAL may lose the last commits at a power cut. They are revenue.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}
