//! Wake-ups that `PostgreSQL` carries to other hosts. `SQLite` and `MariaDB` have no notifications, and a transaction pooler
//! drops them.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DbBackend,
    sqlx::{
        self,
        postgres::{PgListener, PgPoolOptions},
    },
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ANSWER_WAIT;
use crate::{
    database::{Database, within},
    telemetry::metrics,
    worker::Signal,
};

const CHANNEL: &str = "feebox_outbox";
/// After this long without its own test notification a listener is taken to be behind a pooler.
const ECHO_WAIT: Duration = Duration::from_secs(3);
/// After this long without a notification the connection may have died in silence: the listener connects again.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The pause before listening again after the connection broke.
const RECONNECT: Duration = Duration::from_secs(1);

const NO_NOTIFICATIONS: &str =
    "this database has no notifications: a commit on another host is seen on the next cron tick";
const BEHIND_POOLER: &str = "a pooler drops notifications: a commit on another host is seen on the next cron tick";

/// Notifies all workers that listen.
pub(super) async fn notify(db: &Database) {
    if db.connection().get_database_backend() != DbBackend::Postgres {
        return;
    }
    // SeaORM counts the statements that it prepares; it does not prepare this one.
    metrics::database_statement();
    // PostgreSQL flushes its log for a notification, as for a commit. This one has no data: a hint that is lost in a crash.
    let notify = format!("SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}");
    // A failure does no harm: the tick comes.
    if let Err(error) = within(ANSWER_WAIT, db.connection().execute_unprepared(&notify)).await {
        tracing::debug!(%error, "could not notify workers");
    }
}

/// Sends `wake` when another process has stored something, until `drain`. Where the database has no notifications, it logs
/// that and returns.
pub async fn listen(db: Database, wake: Signal, drain: CancellationToken) {
    match db.connection().get_database_backend() {
        DbBackend::Postgres => {}
        DbBackend::MySql => return tracing::info!("{NO_NOTIFICATIONS}"),
        // All its processes are on one host.
        _ => return,
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
