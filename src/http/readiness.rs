//! Whether this process can take submissions, as a background check last found it.
//!
//! Health checkers ask often and want a quick answer, above all when the database is slow. So a question is answered from what
//! is known, and never waits behind others.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::DbErr;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::problem::{Kind, Problem};
use crate::{
    database::{Database, Unready},
    printable::chain,
};

/// How often it is checked.
const INTERVAL: Duration = Duration::from_millis(500);
/// A database that takes longer is not ready.
const LIMIT: Duration = Duration::from_secs(2);

/// What is known about the readiness of a process.
#[derive(Clone, Debug)]
pub struct Readiness {
    db: Database,
    /// What the last check found; none before the first.
    found: watch::Sender<Option<Result<(), NotReady>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NotReady {
    /// For the health checker.
    detail: String,
    /// For the log.
    cause: Option<String>,
}

impl Readiness {
    pub(super) fn new(db: Database) -> Self {
        Self { db, found: watch::Sender::new(None) }
    }

    /// Checks the database again and again until `drain`.
    pub async fn keep(self, drain: CancellationToken) {
        loop {
            let found = self.check().await;
            self.found
                .send_if_modified(|known| known.replace(found.clone()).as_ref().is_none_or(|it| changed(it, &found)));
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = drain.cancelled() => return,
            }
        }
    }

    /// What was found last, or by the first check. A write that failed since is known at once.
    pub(super) async fn ask(&self) -> Result<(), Problem> {
        let not_ready = |detail: String| Problem::new(Kind::NotReady, detail).retry_after_seconds(1);
        self.db.last_write().map_err(|unready| not_ready(unready.to_string()))?;
        let mut known = self.found.subscribe();
        let found = timeout(LIMIT, known.wait_for(Option::is_some)).await;
        match found.as_ref().ok().and_then(|found| found.as_ref().ok()?.as_ref()) {
            Some(Ok(())) => Ok(()),
            Some(Err(fault)) => Err(not_ready(fault.detail.clone())),
            None => Err(not_ready("the database is being checked for the first time".to_owned())),
        }
    }

    async fn check(&self) -> Result<(), NotReady> {
        let pending = match timeout(LIMIT, self.pending()).await {
            Ok(Ok(pending)) => pending,
            Ok(Err(unready)) => return Err(NotReady { detail: unready.to_string(), cause: Some(chain(&unready)) }),
            Err(_) => {
                return Err(NotReady { detail: format!("the database did not answer within {LIMIT:?}"), cause: None });
            }
        };
        if pending.is_empty() {
            return Ok(());
        }
        let detail = format!("migrations are pending, run `feebox migrate up`: {}", pending.join(", "));
        Err(NotReady { detail, cause: None })
    }

    async fn pending(&self) -> Result<Vec<String>, Unready> {
        self.db.writable().await?;
        let txn = self.db.snapshot().await?;
        match Migrator::get_pending_migrations_read_only(&*txn).await {
            Ok(pending) => Ok(pending.iter().map(|it| it.name().to_owned()).collect()),
            // The database has migrations that this version does not know: a newer version runs beside this one, as in
            // every rolling upgrade. What this version needs was applied before.
            Err(DbErr::Custom(_)) => Ok(Vec::new()),
            Err(error) => Err(Unready::from(error)),
        }
    }
}

/// Logs what was found if it is something else than before.
fn changed(before: &Result<(), NotReady>, found: &Result<(), NotReady>) -> bool {
    match found {
        _ if before == found => return false,
        Ok(()) => tracing::info!("ready again"),
        Err(NotReady { detail, cause }) => tracing::warn!(detail, cause, "not ready"),
    }
    true
}
