//! Databases to run on: a fresh one for each design, gone when it was counted.

use std::{path::Path, time::Duration};

use anyhow::Context;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use secrecy::SecretString;
use url::Url;

use crate::{database::Database, settings};

/// A database of its own for one design.
pub(super) struct Ground {
    url: String,
    db: Database,
    /// The server's own database, and the name of ours on it.
    on_server: Option<(String, String)>,
}

/// What a server counts by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Rows inserted, updated and deleted in this database.
    pub(super) rows_written: f64,
    /// Write-ahead log of the whole server, in bytes.
    pub(super) wal_bytes: f64,
}

impl Ground {
    /// A new database for a `run`, beside the one that `server` names, or an `SQLite` file in `directory`.
    pub(super) async fn prepare(run: &str, server: Option<&str>, directory: &Path) -> anyhow::Result<Self> {
        let (url, on_server) = match server {
            Some(server) if !server.starts_with("sqlite:") => {
                let name = format!("feebox_compare_{}_{}", run.replace('-', "_"), std::process::id());
                execute(server, &format!("CREATE DATABASE {name}")).await.context("no database could be created")?;
                let mut url = Url::parse(server)?;
                url.set_path(&name);
                (url.to_string(), Some((server.to_owned(), name)))
            }
            _ => (sqlite(run, directory)?, None),
        };
        // By a session that ends, so that what it wrote is counted before anything else is.
        let db = connect(&url).await?;
        Migrator::up(db.connection(), None).await.context("the migrations failed")?;
        db.close().await?;
        Ok(Self { db: connect(&url).await?, url, on_server })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn db(&self) -> &Database {
        &self.db
    }

    /// What `PostgreSQL` counts; the others do not count by database. Sessions hand their counts in when they have been
    /// idle for ten seconds.
    pub(super) async fn counts(&self) -> anyhow::Result<Option<Counts>> {
        if self.db.connection().get_database_backend() != DbBackend::Postgres {
            return Ok(None);
        }
        // Another session: one that asks twice sees what it saw before.
        let db = connect(&self.url).await?;
        let question = "SELECT (tup_inserted + tup_updated + tup_deleted)::float8 AS rows_written, \
                        (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS wal_bytes \
                        FROM pg_stat_database WHERE datname = current_database()";
        let statement = Statement::from_string(DbBackend::Postgres, question);
        let row = db.connection().query_one_raw(statement).await?.context("no statistics")?;
        db.close().await?;
        let number = |column: &str| row.try_get::<f64>("", column);
        Ok(Some(Counts { rows_written: number("rows_written")?, wal_bytes: number("wal_bytes")? }))
    }

    /// Takes the database away; an `SQLite` file stays, to be looked into.
    pub(super) async fn clear(self) -> anyhow::Result<()> {
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

async fn execute(url: &str, sql: &str) -> anyhow::Result<()> {
    let db = connect(url).await?;
    db.connection().execute_unprepared(sql).await?;
    Ok(db.close().await?)
}

async fn connect(url: &str) -> anyhow::Result<Database> {
    let settings = settings::Database {
        url: SecretString::from(url.to_owned()),
        max_connections: 4,
        acquire_timeout: Duration::from_secs(10),
    };
    Ok(Database::connect(&settings).await?)
}
