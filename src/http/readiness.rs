//! Whether this process can take submissions, as a background check last found it.
//!
//! Health checkers want a quick answer, above all when the database is slow. So a question is answered from what was found a
//! moment ago, and never waits behind others. While nobody asks, the database is not checked either.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use migration::{Migrator, MigratorTrait};
use sea_orm::DbErr;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::problem::{Kind, Problem};
use crate::{
    database::{Database, Unready},
    printable::chain,
};

/// How often it is checked at most.
const INTERVAL: Duration = Duration::from_millis(500);
/// What was found this long ago is checked again before it is told.
const STALE_AFTER: Duration = Duration::from_secs(2);
/// A database that takes longer is not ready.
const LIMIT: Duration = Duration::from_secs(2);

/// What is known about the readiness of a process.
#[derive(Clone, Debug)]
pub struct Readiness {
    db: Database,
    /// Somebody wants to know.
    asked: Arc<Notify>,
    /// When the last check ended, and what it found; none before the first.
    found: watch::Sender<Option<(Instant, Result<(), NotReady>)>>,
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
        Self { db, asked: Arc::default(), found: watch::Sender::new(None) }
    }

    /// Checks the database at the start and whenever somebody asks, until `drain`.
    pub async fn keep(self, drain: CancellationToken) {
        loop {
            let found = self.check().await;
            let before = self.found.borrow().as_ref().map_or(Ok(()), |(_, before)| before.clone());
            log_change(&before, &found);
            self.found.send_replace(Some((Instant::now(), found)));
            let next = async {
                sleep(INTERVAL).await;
                self.asked.notified().await;
            };
            tokio::select! {
                () = next => {}
                () = drain.cancelled() => return,
            }
        }
    }

    /// What was found a moment ago, or is found now. A write that failed since is known at once.
    pub(super) async fn ask(&self) -> Result<(), Problem> {
        let not_ready = |detail: String| Problem::new(Kind::NotReady, detail).retry_after_seconds(1);
        self.db.last_write().map_err(|unready| not_ready(unready.to_string()))?;
        self.asked.notify_one();
        let mut known = self.found.subscribe();
        let is_fresh = |known: &Option<(Instant, _)>| known.as_ref().is_some_and(|(at, _)| at.elapsed() < STALE_AFTER);
        let found = timeout(LIMIT, known.wait_for(is_fresh)).await;
        match found.as_ref().ok().and_then(|found| found.as_ref().ok()?.as_ref()) {
            Some((_, Ok(()))) => Ok(()),
            Some((_, Err(not))) => Err(not_ready(not.detail.clone())),
            None => Err(not_ready("the database is being checked".to_owned())),
        }
    }

    async fn check(&self) -> Result<(), NotReady> {
        let begun = Instant::now();
        let pending = match timeout(LIMIT, self.pending()).await {
            Ok(Ok(pending)) => pending,
            Ok(Err(unready)) => return Err(NotReady { detail: unready.to_string(), cause: Some(chain(&unready)) }),
            // Under a flood a check may come late, while quotes are stored: a balancer that took this process away for that would
            // move the flood to the next one.
            Err(_) if self.db.has_written_since(begun) => return Ok(()),
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

fn log_change(before: &Result<(), NotReady>, found: &Result<(), NotReady>) {
    match found {
        _ if before == found => {}
        Ok(()) => tracing::info!("ready again"),
        Err(NotReady { detail, cause }) => tracing::warn!(detail, cause, "not ready"),
    }
}
