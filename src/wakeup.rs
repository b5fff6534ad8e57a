//! Waking workers as soon as something is stored. This is only ever a hint: cron ticks are the guarantee.
//!
//! In the same process a [`Signal`] wakes them. Across processes `PostgreSQL` carries a `NOTIFY`, sent after the commit and
//! outside it, because inside it would make all commits queue for one lock; many commits share one. `SQLite` and `MariaDB`
//! have no notifications, and a transaction pooler drops them: there workers poll by cron alone.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DbBackend,
    sqlx::{
        self,
        postgres::{PgListener, PgPoolOptions},
    },
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, within},
    quotes::Quote,
    submission::{Listener, Submitted},
    telemetry::metrics,
    worker::Signal,
};

const CHANNEL: &str = "feebox_outbox";
/// After this long without its own test notification a listener is taken to be behind a pooler.
const ECHO_WAIT: Duration = Duration::from_secs(3);
/// After this long without a notification the connection may have died in silence: the listener connects again.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How long the database is given to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const NO_NOTIFICATIONS: &str = "this database has no notifications: the worker picks up events on the next cron tick";
const BEHIND_POOLER: &str = "a pooler drops notifications: the worker picks up events on the next cron tick";
/// The pause before listening again after the connection broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// Sends a signal after each commit that stored events. The default one has no listeners.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Signal);

impl Wakeup {
    /// Sends `wake`, to which the workers of this process or [`notify`] listen.
    #[must_use]
    pub fn new(wake: Signal) -> Self {
        Self(wake)
    }

    /// Wakes a worker.
    pub fn wake(&self) {
        self.0.send();
    }
}

#[async_trait]
impl Listener for Wakeup {
    async fn after_commit(&self, _submitted: &Submitted) {
        self.wake();
    }

    async fn after_cancellation(&self, _quote: &Quote) {
        self.wake();
    }
}

/// Passes `wake` on to the workers of other processes, until `drain`, where the database has notifications.
pub async fn notify(db: Database, wake: Signal, drain: CancellationToken) {
    if db.connection().get_database_backend() != DbBackend::Postgres {
        return;
    }
    let (mut wakes, notify) = (wake.listen(), format!("NOTIFY {CHANNEL}"));
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = wakes.heard() => {}
        }
        // SeaORM counts the statements that it prepares; it does not prepare this one.
        metrics::database_statement();
        // A failure does no harm: the tick comes.
        if let Err(error) = within(ANSWER_WAIT, db.connection().execute_unprepared(&notify)).await {
            tracing::debug!(%error, "could not notify workers");
        }
    }
}

/// Sends `wake` when another process has stored something, until `drain`. Where the database has no notifications, it logs
/// that and returns.
pub async fn listen(db: Database, wake: Signal, drain: CancellationToken) {
    if db.connection().get_database_backend() != DbBackend::Postgres {
        tracing::info!("{NO_NOTIFICATIONS}");
        return;
    }
    if db.connection().is_behind_pooler() {
        tracing::info!("{BEHIND_POOLER}");
        return;
    }
    loop {
        let listened = tokio::select! {
            () = drain.cancelled() => return,
            listened = listen_once(&db, &wake) => listened,
        };
        match listened {
            Ok(()) => {
                tracing::info!("{BEHIND_POOLER}");
                return;
            }
            Err(error) => tracing::debug!(%error, "stopped listening and will listen again"),
        }
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

/// Returns `Ok` only if the database takes `LISTEN` and does not deliver.
async fn listen_once(db: &Database, wake: &Signal) -> Result<(), sqlx::Error> {
    let begun = timeout(ANSWER_WAIT, begin_to_listen(db)).await;
    let Some(mut listener) = begun.map_err(|_| sqlx::Error::PoolTimedOut)?? else { return Ok(()) };
    // Something may have been stored before this process listened.
    wake.send();
    while let Ok(notified) = timeout(SILENCE_MAX, listener.recv()).await {
        notified?;
        wake.send();
    }
    Err(sqlx::Error::PoolTimedOut)
}

/// A listener that has received its own notification, or `None` if it does not come.
async fn begin_to_listen(db: &Database) -> Result<Option<PgListener>, sqlx::Error> {
    let pool = db.connection().postgres_pool();
    // A pool of its own: closing a connection that died in silence never ends, and would take a place from the others.
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("NOTIFY {CHANNEL}"))).execute(pool).await?;
    match timeout(ECHO_WAIT, listener.recv()).await {
        Ok(echo) => echo.map(|_| Some(listener)),
        Err(_) => Ok(None),
    }
}
