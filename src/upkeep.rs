//! Work that the fleet does once per cron tick: pruning, sweeping, checking the promises.
//!
//! No process is elected. At each tick every process tries to move the schedule's `last_tick_at` forward in the database;
//! one succeeds and does the work. So it gets done as long as any process lives. Ticks that were missed while none did are
//! made up for once, when the next process starts. A process that dies in the middle leaves the rest to the next tick: each
//! job may be done again without harm.

use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::{Cron, errors::CronError};
use entity::schedule::{ActiveModel, Column, Entity};

pub use entity::schedule::Model as LastRun;
use futures_util::future::BoxFuture;
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, SqlErr};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{SKEW_MAX, after},
    crash, cron,
    database::{Database, within},
    schedule::Pacemaker,
    supervision::caught,
    telemetry::metrics,
};

/// A job that takes longer waits for a database that will never answer; the rest is done at the next tick.
const JOB_LIMIT: Duration = Duration::from_mins(15);

/// Work that the fleet does once per tick.
pub struct Job {
    /// What the fleet calls it: the key of its row in `schedule`.
    pub name: &'static str,
    /// When it is done: a six-field cron expression, in UTC.
    pub schedule: String,
    /// Does the work; returns how many things it did or found. After a database error the next tick tries again.
    pub run: Box<dyn Fn() -> BoxFuture<'static, Result<u64, DbErr>> + Send + Sync>,
}

/// A job, as one process of the fleet does it.
pub struct Upkeep {
    db: Database,
    process: String,
    cron: Cron,
    job: Job,
}

impl Upkeep {
    /// `process` is whose name stands at the ticks that it takes.
    ///
    /// # Errors
    /// A schedule that is no cron expression.
    pub fn new(db: Database, process: String, job: Job) -> Result<Self, CronError> {
        Ok(Self { db, process, cron: cron::parse(&job.schedule)?, job })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Does the work if a tick is due that no process has taken; returns whether it did.
    ///
    /// # Errors
    /// Any database error.
    pub async fn run_if_due(&self) -> Result<bool, DbErr> {
        let now = self.db.now(self.db.connection()).await?;
        let Ok(tick) = cron::latest_tick(&self.cron, now) else { return Ok(false) };
        let taken = self.take(tick, now).await?;
        if taken {
            crash::point("upkeep-run");
            let count = i64::try_from((self.job.run)().await?).unwrap_or(i64::MAX);
            let found = ActiveModel { last_count: Set(Some(count)), ..Default::default() };
            Entity::update_many().set(found).filter(Column::Name.eq(self.job.name)).exec(self.db.connection()).await?;
        }
        Ok(taken)
    }

    /// Runs at once, and at each tick of `pacemaker` until `drain`; a failure is logged and tried again at the next tick.
    pub async fn keep(&self, pacemaker: &Pacemaker, drain: CancellationToken) {
        let (mut ticks, job) = (pacemaker.ticks(), self.job.name);
        while !drain.is_cancelled() {
            match caught(within(JOB_LIMIT, self.run_if_due())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(job, %error, "upkeep failed, the next tick tries again"),
                Err(panic) => {
                    metrics::task_panic(job);
                    tracing::error!(job, panic, "upkeep panicked, the next tick tries again");
                }
            }
            tokio::select! {
                () = drain.cancelled() => {}
                () = ticks.next() => {}
            }
        }
    }

    async fn take(&self, tick: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool, DbErr> {
        let db = self.db.connection();
        let taken = taken_by(&self.process, tick);
        let moved = Entity::update_many()
            .set(taken)
            .filter(Column::Name.eq(self.job.name))
            // A tick that lies ahead was taken by a wrong clock. It would keep all processes from the job until then.
            .filter(Column::LastTickAt.lt(tick).or(Column::LastTickAt.gt(after(now, SKEW_MAX))))
            .exec(db)
            .await?;
        if moved.rows_affected > 0 {
            return Ok(true);
        }
        let exists = Entity::find_by_id(self.job.name).one(db).await?.is_some();
        if exists {
            return Ok(false);
        }
        let first =
            ActiveModel { name: Set(self.job.name.into()), last_count: Set(None), ..taken_by(&self.process, tick) };
        match Entity::insert(first).exec_without_returning(db).await {
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
            inserted => inserted.map(|_| true),
        }
    }
}

fn taken_by(process: &str, tick: DateTime<Utc>) -> ActiveModel {
    ActiveModel { last_tick_at: Set(tick), taken_by: Set(process.into()), ..Default::default() }
}

/// When the job `name` last ran and what it did or found, in any process: for gauges that all processes show alike.
///
/// # Errors
/// Any database error.
pub async fn last_run(db: &Database, name: &str) -> Result<Option<LastRun>, DbErr> {
    Entity::find_by_id(name).one(db.connection()).await
}
