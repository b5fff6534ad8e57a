//! The processes that share the database. Each says in a row of `process` that it lives, what it is and how it is doing: every
//! [`BEAT`], so that an idle process costs next to nothing.

mod view;

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::process::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, SqlErr,
};
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock::after,
    database::{Database, within},
    settings::Settings,
    worker::Vitals,
};

pub use view::{Process, Workers, workers, workers_alive};

/// How often a process says that it lives.
pub const BEAT: Duration = Duration::from_secs(20);
/// The pause after the database could not be told.
const RETRY: Duration = Duration::from_secs(5);
/// How long the database is given to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a process that stops waits for the database.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// One that has not said for as long that it lives counts as dead.
pub(crate) const SILENT_MAX: Duration = Duration::from_mins(1);
/// One that has not said so for as long is forgotten.
pub(crate) const DEAD_AFTER: Duration = Duration::from_hours(1);

/// Settings that should be the same in all processes. The others, such as addresses and limits, belong to one process.
const SHARED_SETTINGS: [&str; 9] =
    ["audit.", "circuit.", "fee_server.", "kafka.", "retention.", "retry.", "submission.", "sweeper.", "worker."];
/// Among these, those that belong to one process all the same.
const OWN_SETTINGS: [&str; 6] = [
    "worker.bind",
    "worker.wakeup_bind",
    "worker.concurrency",
    "kafka.in_flight",
    "worker.batch_size",
    "worker.shutdown_grace",
];

/// A process, as it tells the fleet.
#[derive(Clone, Debug)]
pub struct Member {
    /// New at each start.
    pub id: Uuid,
    /// Host and process, as on its leases.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Those of its settings that should be the same in the fleet.
    pub settings: Value,
    /// How it is doing.
    pub vitals: Vitals,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The HTTP API alone.
    Serve,
    /// A worker.
    Worker,
    /// A worker that delivers what is due and ends.
    Once,
    /// Both in one.
    Dev,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Worker => "worker",
            Self::Once => "once",
            Self::Dev => "dev",
        }
    }
}

impl Member {
    /// A process called `name` with these settings.
    #[must_use]
    pub fn new(name: String, role: Role, settings: &Settings) -> Self {
        Self { id: Uuid::now_v7(), name, role, settings: shared(settings), vitals: Vitals::default() }
    }

    /// Says that it lives until `drain`, and then that it leaves. An unavailable database is told later.
    pub async fn keep(&self, db: &Database, drain: &CancellationToken) {
        let mut is_known = false;
        while !drain.is_cancelled() {
            match within(ANSWER_WAIT, self.beat(db, is_known)).await {
                Ok(()) => is_known = true,
                Err(error) => tracing::debug!(%error, "could not tell the fleet that this process lives"),
            }
            tokio::select! {
                () = drain.cancelled() => {}
                () = sleep(if is_known { BEAT } else { RETRY }) => {}
            }
        }
        let leaving = Entity::delete_many().filter(Column::Id.eq(self.id)).exec(db.connection());
        // If the database is not told, the others see it by the silence.
        let _ = timeout(LEAVE_WAIT, leaving).await;
    }

    /// Says once that it lives, and forgets those that died.
    ///
    /// # Errors
    /// Any database error.
    pub async fn beat(&self, db: &Database, is_known: bool) -> Result<(), DbErr> {
        let mut row = row_of(&self.vitals);
        if is_known {
            // One statement, which an idle process can afford.
            let now = db.clock().as_sql(db.connection().get_database_backend());
            let beat = Entity::update_many().set(row).col_expr(Column::SeenAt, now).filter(Column::Id.eq(self.id));
            if beat.exec(db.connection()).await?.rows_affected > 0 {
                return Ok(());
            }
            // It was forgotten while the database was unavailable.
            row = row_of(&self.vitals);
        }
        let now = db.now(db.connection()).await?;
        row.seen_at = Set(now);
        forget(db, now - DEAD_AFTER).await?;
        row.name = Set(self.name.clone());
        row.role = Set(Some(self.role.name().into()));
        row.version = Set(Some(env!("CARGO_PKG_VERSION").into()));
        row.host = Set(Some(host().chars().take(128).collect()));
        row.settings = Set(Some(self.settings.clone()));
        if self.update(db, row.clone()).await? {
            return Ok(());
        }
        row.id = Set(self.id);
        row.started_at = Set(now);
        (row.wake_address, row.wake_token) = (Set(None), Set(None));
        match Entity::insert(row.clone()).exec_without_returning(db.connection()).await {
            // It was stored meanwhile, with where it takes wake-ups.
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                (row.id, row.wake_address, row.wake_token) = (NotSet, NotSet, NotSet);
                self.update(db, row).await.map(drop)
            }
            inserted => inserted.map(drop),
        }
    }

    async fn update(&self, db: &Database, row: ActiveModel) -> Result<bool, DbErr> {
        let updated = Entity::update_many().set(row).filter(Column::Id.eq(self.id)).exec(db.connection()).await?;
        Ok(updated.rows_affected > 0)
    }

    /// Says that a worker has run, which ends now: the last one of this host stands for all of them.
    ///
    /// # Errors
    /// Any database error.
    pub async fn has_run(&self, db: &Database) -> Result<(), DbErr> {
        let earlier = Condition::all().add(Column::Role.eq(Role::Once.name())).add(Column::Host.eq(host()));
        Entity::delete_many().filter(earlier).exec(db.connection()).await?;
        self.vitals.ticked(db.now(db.connection()).await?);
        self.beat(db, false).await
    }
}

/// Forgets those that were not seen since `time`, or that a clock which ran ahead has seen.
pub(crate) async fn forget(db: &Database, time: DateTime<Utc>) -> Result<(), DbErr> {
    let dead = Condition::any().add(Column::SeenAt.lt(time)).add(Column::SeenAt.gt(after(time, 2 * DEAD_AFTER)));
    Entity::delete_many().filter(dead).exec(db.connection()).await.map(drop)
}

/// The name of this host.
#[must_use]
pub fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "host".into() } else { host.into() }
}

fn row_of(vitals: &Vitals) -> ActiveModel {
    let (in_flight, limit) = vitals.deliveries();
    let integer = |number: usize| Some(i32::try_from(number).unwrap_or(i32::MAX));
    ActiveModel {
        last_tick_at: Set(vitals.last_tick()),
        in_flight: Set(integer(in_flight)),
        in_flight_limit: Set(integer(limit)),
        ..Default::default()
    }
}

fn shared(settings: &Settings) -> Value {
    let is_shared =
        |key: &str| SHARED_SETTINGS.iter().any(|section| key.starts_with(section)) && !OWN_SETTINGS.contains(&key);
    let in_force = settings.redacted().values.iter().filter(|(key, _)| is_shared(key));
    Value::Object(
        in_force.map(|(key, in_force)| (key.clone(), in_force.value.to_string().into())).collect::<Map<_, _>>(),
    )
}
