//! A fresh database for each run, dropped afterwards.

use std::{path::Path, time::Duration};

use anyhow::Context;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use secrecy::SecretString;
use url::Url;

use crate::{database::Database, settings};

/// A database for one run.
pub(crate) struct TestDatabase {
    url: String,
    db: Database,
    /// The URL of the server's own database, and the name of ours on it.
    on_server: Option<(String, String)>,
}

/// The tables that are counted.
const TABLES: [&str; 3] = ["quote", "outbox_event", "fee_record"];

impl TestDatabase {
    /// Creates a database for a `run`, next to the one that `server` names, or an `SQLite` file in `directory`.
    pub(crate) async fn prepare(run: &str, server: Option<&str>, directory: &Path) -> anyhow::Result<Self> {
        let (url, on_server) = match server {
            Some(server) if !server.starts_with("sqlite:") => {
                let name = format!("feebox_trial_{}_{}", run.replace('-', "_"), std::process::id());
                execute(server, &format!("CREATE DATABASE {name}")).await.context("creating a database failed")?;
                let mut url = Url::parse(server)?;
                url.set_path(&name);
                (url.to_string(), Some((server.to_owned(), name)))
            }
            _ => (sqlite(run, directory)?, None),
        };
        // The migration uses a session that ends, so that its writes are counted before all others.
        let db = connect(&url).await?;
        Migrator::up(db.connection(), None).await.context("the migrations failed")?;
        db.close().await?;
        Ok(Self { db: connect(&url).await?, url, on_server })
    }

    /// Leaves autovacuum nothing to do here: its writes would count among those of other databases of the server.
    pub(crate) async fn hush(&self) -> anyhow::Result<()> {
        if !self.is_postgres() {
            return Ok(());
        }
        let own = "DO $$ DECLARE name regclass; BEGIN \
             FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP \
                 EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', name); \
             END LOOP; END $$";
        self.db.connection().execute_unprepared(own).await?;
        // What the migrations have changed in the catalogue.
        let names = "SELECT string_agg(relid::regclass::text, ', ') AS names FROM pg_stat_sys_tables \
             WHERE schemaname = 'pg_catalog' AND n_mod_since_analyze > 0";
        let connection = self.db.connection();
        let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, names)).await?;
        if let Some(names) = row.context("no statistics")?.try_get::<Option<String>>("", "names")? {
            connection.execute_unprepared(&format!("VACUUM (ANALYZE) {names}")).await?;
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn db(&self) -> &Database {
        &self.db
    }

    /// Has no checkpoint come while the writes of quotes are measured: pages are logged whole after it.
    pub(crate) async fn quiesce(&self) -> anyhow::Result<()> {
        if self.is_postgres() {
            self.db.connection().execute_unprepared("CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Rows inserted, updated and deleted in these tables. Only `PostgreSQL` counts them. A session reports its counts
    /// after ten idle seconds.
    pub(crate) async fn rows_written(&self) -> anyhow::Result<Option<f64>> {
        let tables = TABLES.map(|table| format!("'{table}'")).join(", ");
        self.number(&format!(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::float8 AS number FROM pg_stat_user_tables \
             WHERE relname IN ({tables})"
        ))
        .await
    }

    /// The position of `PostgreSQL`'s write-ahead log, for the whole server, in bytes.
    pub(crate) async fn wal_bytes(&self) -> anyhow::Result<Option<f64>> {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS number").await
    }

    async fn number(&self, query: &str) -> anyhow::Result<Option<f64>> {
        if !self.is_postgres() {
            return Ok(None);
        }
        // A new session: within one session a second query returns the same statistics.
        let db = connect(&self.url).await?;
        let row = db.connection().query_one_raw(Statement::from_string(DbBackend::Postgres, query)).await?;
        db.close().await?;
        Ok(Some(row.context("no statistics")?.try_get("", "number")?))
    }

    fn is_postgres(&self) -> bool {
        self.db.connection().get_database_backend() == DbBackend::Postgres
    }

    /// Drops the database. An `SQLite` file stays, for inspection.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        self.db.close().await?;
        if let Some((server, name)) = self.on_server {
            let force = if server.starts_with("postgres") { " WITH (FORCE)" } else { "" };
            execute(&server, &format!("DROP DATABASE {name}{force}")).await?;
        }
        Ok(())
    }
}

fn sqlite(run: &str, directory: &Path) -> anyhow::Result<String> {
    let file = directory.join(format!("{run}.db"));
    for suffix in ["", "-wal", "-shm"] {
        let left_over = format!("{}{suffix}", file.display());
        if Path::new(&left_over).exists() {
            std::fs::remove_file(left_over)?;
        }
    }
    Ok(format!("sqlite://{}?mode=rwc", file.display()))
}

/// Runs `sql` on a session that ends.
pub(crate) async fn execute(url: &str, sql: &str) -> anyhow::Result<()> {
    let db = connect(url).await?;
    db.connection().execute_unprepared(sql).await?;
    Ok(db.close().await?)
}

/// A few sessions with the database behind `url`.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Database> {
    let settings = settings::Database {
        url: SecretString::from(url.to_owned()),
        url_file: None,
        max_connections: 4,
        acquire_timeout: Duration::from_secs(10),
        replica: None,
    };
    Ok(Database::connect(&settings).await?)
}
