//! Whether the database accepts writes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::{
    Database,
    failure::{Kind, kind},
};

/// How long a failed write marks a server as full. Only a write can find that out.
const FULL_FOR: Duration = Duration::from_secs(5);

/// How long a failed write is known to [`Database::last_write`]. Then the next check has looked.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Why the database is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// It is a standby, or a fenced primary.
    #[error("the database is read-only")]
    ReadOnly,
    /// The last write failed because the database is full.
    #[error("the database is full, or its disk fails")]
    Full,
    /// It did not answer, or answered with an error.
    #[error("the database is unavailable")]
    Unavailable(#[from] DbErr),
}

/// What became of the last write of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    last: Arc<Mutex<Last>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Last {
    /// There was none yet.
    #[default]
    None,
    Worked(Instant),
    /// The database was full or read-only.
    Failed(Kind, Instant),
}

impl Writes {
    pub fn worked(&self) {
        *self.last.lock() = Last::Worked(Instant::now());
    }

    pub fn failed(&self, kind: Kind) {
        if matches!(kind, Kind::Full | Kind::ReadOnly) {
            *self.last.lock() = Last::Failed(kind, Instant::now());
        }
    }
}

impl Database {
    /// What is known about writing without a check: nothing, unless the last write failed a moment ago.
    ///
    /// # Errors
    /// See [`Unready`].
    pub fn last_write(&self) -> Result<(), Unready> {
        match *self.writes.last.lock() {
            Last::Failed(Kind::ReadOnly, since) if since.elapsed() < KNOWN_FOR => Err(Unready::ReadOnly),
            Last::Failed(_, since) if since.elapsed() < KNOWN_FOR => Err(Unready::Full),
            _ => Ok(()),
        }
    }

    /// Whether the last write of this process worked, after `since`.
    #[must_use]
    pub fn has_written_since(&self, since: Instant) -> bool {
        matches!(*self.writes.last.lock(), Last::Worked(at) if at > since)
    }

    /// Checks that this process can write. A server is asked. An SQLite file, whose writers wait for each other, is checked
    /// only if the last write failed, or there was none.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn writable(&self) -> Result<(), Unready> {
        let last = *self.writes.last.lock();
        if self.connection.get_database_backend() == DbBackend::Sqlite {
            if !matches!(last, Last::Worked(_)) {
                self.write_nothing().await?;
                self.writes.worked();
            }
            return Ok(());
        }
        let txn = self.begin().await.map_err(unready)?;
        let backend = txn.get_database_backend();
        if backend == DbBackend::Postgres {
            let question = "SELECT current_setting('transaction_read_only') = 'on' AS read_only";
            let row = txn.query_one_raw(Statement::from_string(backend, question)).await.map_err(unready)?;
            if row.map_or(Ok(false), |row| row.try_get("", "read_only"))? {
                self.connection.sessions.distrust();
                return Err(Unready::ReadOnly);
            }
        }
        match last {
            Last::Failed(Kind::Full, since) if since.elapsed() < FULL_FOR => Err(Unready::Full),
            _ => Ok(()),
        }
    }

    /// Rewrites the first page of an SQLite file without a change.
    async fn write_nothing(&self) -> Result<(), Unready> {
        let txn = self.begin().await.map_err(unready)?;
        let question = "SELECT user_version AS version FROM pragma_user_version";
        let row = txn.query_one_raw(Statement::from_string(DbBackend::Sqlite, question)).await.map_err(unready)?;
        let version: i64 = row.map_or(Ok(0), |row| row.try_get("", "version"))?;
        txn.execute_unprepared(&format!("PRAGMA user_version = {version}")).await.map_err(unready)?;
        txn.commit().await.map_err(unready)
    }
}

fn unready(error: DbErr) -> Unready {
    match kind(&error) {
        Kind::ReadOnly => Unready::ReadOnly,
        Kind::Full => Unready::Full,
        _ => Unready::Unavailable(error),
    }
}
