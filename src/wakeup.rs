//! Telling workers at once that something was stored. Only ever a hint: cron ticks are the guarantee.
//!
//! In the same process a [`Notify`] does it. Across processes `PostgreSQL` carries a `NOTIFY`, sent after the commit and
//! outside it, because inside it would make all commits queue for one lock; many commits share one. `SQLite` and `MariaDB`
//! have nothing of the kind, and a transaction pooler swallows `LISTEN`: there polling by cron works alone.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DbBackend,
    sqlx::{
        self,
        postgres::{PgListener, PgPoolOptions},
    },
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, within},
    quotes::Quote,
    submission::{Listener, Submitted},
    supervision::Tasks,
    telemetry::metrics,
};

const CHANNEL: &str = "feebox_outbox";
/// Commits within this time share one wake-up: under load a claim takes what all of them stored, instead of a transaction
/// for each. Nothing beside the seconds that a fee takes.
const COALESCE: Duration = Duration::from_millis(25);
/// After this long without its own test notification a listener is taken to be behind a pooler.
const ECHO_WAIT: Duration = Duration::from_secs(3);
/// After this long without a notification the connection may have died in silence: the listener connects anew.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How long the database is given to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const BEHIND_POOLER: &str = "a pooler keeps notifications from this worker: it finds events by its cron ticks";
/// The pause before listening again after the connection broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// The listener that wakes workers after each commit.
#[derive(Clone, Debug, Default)]
pub struct Wakeup {
    stored: Option<Arc<Notify>>,
}

/// Who is woken.
enum Sleeper {
    /// The workers of this process.
    Local(Arc<Notify>),
    /// Those that listen to the database.
    Remote(Database),
}

impl Wakeup {
    /// Wakes `local`, the worker of this process, if there is one; else those of other processes through the database, by
    /// one of `tasks` that ends with `drain`.
    #[must_use]
    pub fn new(db: &Database, local: Option<Arc<Notify>>, drain: &CancellationToken, tasks: &mut Tasks) -> Self {
        let postgres = db.connection().get_database_backend() == DbBackend::Postgres;
        let sleeper = match local {
            Some(worker) => Sleeper::Local(worker),
            None if postgres => Sleeper::Remote(db.clone()),
            None => return Self::default(),
        };
        let stored = Arc::<Notify>::default();
        let wakeup = Self { stored: Some(Arc::clone(&stored)) };
        let (sleeper, drain) = (Arc::new(sleeper), drain.clone());
        tasks.spawn("wakeup", move || wake_at_intervals(Arc::clone(&sleeper), Arc::clone(&stored), drain.clone()));
        wakeup
    }

    /// Wakes a worker.
    pub fn wake(&self) {
        if let Some(stored) = &self.stored {
            stored.notify_one();
        }
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

/// The first at once, what comes within [`COALESCE`] of it after that.
async fn wake_at_intervals(sleeper: Arc<Sleeper>, stored: Arc<Notify>, drain: CancellationToken) {
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = stored.notified() => sleeper.wake().await,
        }
        tokio::time::sleep(COALESCE).await;
    }
}

impl Sleeper {
    async fn wake(&self) {
        match self {
            Self::Local(worker) => worker.notify_one(),
            Self::Remote(db) => {
                let notify = format!("NOTIFY {CHANNEL}");
                // SeaORM counts statements that it prepares, and this is none.
                metrics::database_statement();
                // A failure is no harm: the tick comes.
                if let Err(error) = within(ANSWER_WAIT, db.connection().execute_unprepared(&notify)).await {
                    tracing::debug!(%error, "could not notify workers");
                }
            }
        }
    }
}

/// Wakes `worker` when another process has stored something, until `drain`. Where the database cannot tell, one log line
/// says so and it returns.
pub async fn listen(db: Database, worker: Arc<Notify>, drain: CancellationToken) {
    if db.connection().get_database_backend() != DbBackend::Postgres {
        tracing::info!("this database wakes nobody: workers of other processes find events by their cron ticks");
        return;
    }
    if db.connection().is_behind_pooler() {
        tracing::info!("{BEHIND_POOLER}");
        return;
    }
    loop {
        let listened = tokio::select! {
            () = drain.cancelled() => return,
            listened = listen_once(&db, &worker) => listened,
        };
        match listened {
            Ok(()) => {
                tracing::info!("{BEHIND_POOLER}");
                return;
            }
            Err(error) => tracing::debug!(%error, "stopped listening, will again"),
        }
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

/// Returns `Ok` only if the database takes `LISTEN` and does not deliver.
async fn listen_once(db: &Database, worker: &Notify) -> Result<(), sqlx::Error> {
    let begun = timeout(ANSWER_WAIT, begin_to_listen(db)).await;
    let Some(mut listener) = begun.map_err(|_| sqlx::Error::PoolTimedOut)?? else { return Ok(()) };
    // What was stored while nobody listened.
    worker.notify_one();
    while let Ok(notified) = timeout(SILENCE_MAX, listener.recv()).await {
        notified?;
        worker.notify_one();
    }
    Err(sqlx::Error::PoolTimedOut)
}

/// A listener that has heard its own notification, or `None` if it does not come.
async fn begin_to_listen(db: &Database) -> Result<Option<PgListener>, sqlx::Error> {
    let pool = db.connection().postgres_pool();
    // A pool of its own: taking leave of a connection that died in silence never ends, and would cost the others a place.
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("NOTIFY {CHANNEL}"))).execute(pool).await?;
    match timeout(ECHO_WAIT, listener.recv()).await {
        Ok(echo) => echo.map(|_| Some(listener)),
        Err(_) => Ok(None),
    }
}
