//! Work that the fleet does once per cron tick: pruning, sweeping, checking the promises.
//!
//! Nobody is elected. At each tick every process tries to move the schedule's `last_tick_at` forward in the database; one
//! succeeds and does the work. So it gets done as long as anybody lives. Ticks that were missed while nobody did are
//! done once, at the next look. A process that dies in the middle leaves the rest to the next tick: each job may be
//! done again without harm.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use croner::{Cron, errors::CronError};
use entity::schedule::{ActiveModel, Column, Entity};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, SqlErr};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{SKEW_MAX, after},
    crash, cron,
    database::{Database, within},
    supervision::caught,
    telemetry::metrics,
};

/// A job that takes longer waits for a database that will never answer; what is left is done at the next tick.
const JOB_LIMIT: Duration = Duration::from_mins(15);

type Work = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<i64, DbErr>> + Send>> + Send + Sync>;

/// A job of the fleet.
pub struct Upkeep {
    db: Database,
    name: &'static str,
    process: String,
    cron: Cron,
    work: Work,
}

impl Upkeep {
    /// The job `name`, done at the ticks of `schedule` by `work`, which tells how many things it did or found; `process`
    /// is whose name stands at the tick.
    ///
    /// # Errors
    /// A schedule that is no cron expression.
    pub fn new<F, Fut>(
        db: Database,
        name: &'static str,
        process: String,
        schedule: &str,
        work: F,
    ) -> Result<Self, CronError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<i64, DbErr>> + Send + 'static,
    {
        Ok(Self { db, name, process, cron: cron::parse(schedule)?, work: Box::new(move || Box::pin(work())) })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Does the work if a tick is due that nobody has taken; tells whether it did.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn run_if_due(&self) -> Result<bool, DbErr> {
        let now = self.db.now(self.db.connection()).await?;
        let Ok(tick) = cron::latest_tick(&self.cron, now) else { return Ok(false) };
        let taken = self.take(tick, now).await?;
        if taken {
            crash::point("upkeep-run");
            let count = (self.work)().await?;
            let found = ActiveModel { last_count: Set(Some(count)), ..Default::default() };
            Entity::update_many().set(found).filter(Column::Name.eq(self.name)).exec(self.db.connection()).await?;
        }
        Ok(taken)
    }

    /// Runs at each `wake` until `drain`; what fails is logged and tried at the next tick.
    pub async fn keep(&self, wake: Arc<Notify>, drain: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = wake.notified() => {}
            }
            match caught(within(JOB_LIMIT, self.run_if_due())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(job = self.name, %error, "upkeep failed, the next tick tries again"),
                Err(panic) => {
                    metrics::task_panic(self.name);
                    tracing::error!(job = self.name, panic, "upkeep panicked, the next tick tries again");
                }
            }
        }
    }

    async fn take(&self, tick: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool, DbErr> {
        let db = self.db.connection();
        let taken = taken_by(&self.process, tick);
        let moved = Entity::update_many()
            .set(taken)
            .filter(Column::Name.eq(self.name))
            // A tick that lies ahead was taken by a clock that was wrong. It would keep everybody from the job until then.
            .filter(Column::LastTickAt.lt(tick).or(Column::LastTickAt.gt(after(now, SKEW_MAX))))
            .exec(db)
            .await?;
        if moved.rows_affected > 0 {
            return Ok(true);
        }
        let exists = Entity::find_by_id(self.name).one(db).await?.is_some();
        if exists {
            return Ok(false);
        }
        let first = ActiveModel { name: Set(self.name.into()), last_count: Set(None), ..taken_by(&self.process, tick) };
        match Entity::insert(first).exec_without_returning(db).await {
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
            inserted => inserted.map(|_| true),
        }
    }
}

fn taken_by(process: &str, tick: DateTime<Utc>) -> ActiveModel {
    ActiveModel { last_tick_at: Set(tick), taken_by: Set(process.into()), ..Default::default() }
}

/// What the job `name` did or found when it last ran, in whichever process: for gauges that all processes show alike.
///
/// # Errors
/// What the database answers.
pub async fn last_count(db: &Database, name: &str) -> Result<Option<i64>, DbErr> {
    Ok(Entity::find_by_id(name).one(db.connection()).await?.and_then(|schedule| schedule.last_count))
}
