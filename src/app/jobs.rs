//! What the fleet does once per tick, beside the deliveries.

use chrono::Utc;
use croner::errors::CronError;
use futures_util::future::BoxFuture;
use sea_orm::DbErr;

use super::{Parts, audits};
use crate::{
    audit::{self, Occasion},
    cron,
    operator::bulk,
    outbox::{self, Repaired},
    quotes::Relay,
    series, submission, sweeper,
    upkeep::{Job, Upkeep},
};

/// The schedule of jobs that have no setting, because nothing is gained by a rarer one.
const OFTEN: &str = "*/20 * * * * *";

/// The schedule of jobs that are done once a minute.
const EACH_MINUTE: &str = "30 * * * * *";

/// All jobs.
pub(super) fn jobs(parts: &Parts) -> Result<Vec<Upkeep>, CronError> {
    let job = |name: &'static str, schedule: &str, run: fn(Parts) -> BoxFuture<'static, Result<u64, DbErr>>| {
        let (own, schedule) = (parts.clone(), schedule.to_owned());
        let job = Job { name, schedule, run: Box::new(move || run(own.clone())) };
        Upkeep::new(parts.db.clone(), parts.member.name.clone(), job)
    };
    let settings = &parts.settings;
    Ok(vec![
        job("clock", OFTEN, |parts| Box::pin(repair_future_times(parts)))?,
        job("bulk", EACH_MINUTE, |parts| Box::pin(resume_bulks(parts)))?,
        job("parking", OFTEN, |parts| Box::pin(async move { outbox::park(&parts.db).await }))?,
        job(series::JOB, EACH_MINUTE, |parts| Box::pin(async move { series::upkeep(&parts.db).await }))?,
        job("retention", &settings.retention.schedule, |parts| Box::pin(prune(parts)))?,
        job(sweeper::JOB, &settings.sweeper.schedule, |parts| Box::pin(sweep(parts)))?,
        job(audit::JOB, &settings.audit.schedule, |parts| {
            Box::pin(async move { audits::check(&parts, Occasion::Schedule).await })
        })?,
    ])
}

/// Makes due what a clock that ran ahead has put off beyond all settings.
async fn repair_future_times(parts: Parts) -> Result<u64, DbErr> {
    let repaired = outbox::repair_future_times(&parts.db).await?;
    let Repaired { due, leases, destinations } = &repaired;
    if !repaired.is_nothing() {
        let destinations = destinations.join(" ");
        tracing::warn!(due, leases, destinations, "a clock ran ahead: what waited for a far future is due now");
        parts.signals.wake.send();
    }
    Ok(due + leases)
}

/// Goes on with what operators began and a process left.
async fn resume_bulks(Parts { db, settings, signals, .. }: Parts) -> Result<u64, DbErr> {
    let changed = || {
        signals.wake.send();
        signals.settled.send();
    };
    bulk::resume(&db, Relay::new(&settings), changed).await
}

/// Deletes what retention no longer keeps.
async fn prune(Parts { db, settings, .. }: Parts) -> Result<u64, DbErr> {
    let retention = &settings.retention;
    let now = db.now(db.connection()).await?;
    let (mut events, mut keys) = (0, 0);
    for _ in 0..steps_per_tick(&retention.schedule) {
        events += outbox::prune(&db, now - retention.delivered_for).await?;
        keys += submission::prune_keys(&db, now - retention.idempotency_keys_for).await?;
    }
    tracing::info!(events, keys, "pruned");
    Ok(events + keys)
}

/// A step of retention goes six hours further: a schedule that ticks once a day takes as many as a day has, and one more.
fn steps_per_tick(schedule: &str) -> i64 {
    let gap = cron::parse(schedule).ok().and_then(|cron| {
        let next = cron.find_next_occurrence(&Utc::now(), false).ok()?;
        Some(cron.find_next_occurrence(&next, false).ok()? - next)
    });
    gap.map_or(1, |gap| gap.num_hours() / 6 + 1).clamp(1, 100)
}

/// Finds quotes that stay pending.
async fn sweep(Parts { db, settings, signals, .. }: Parts) -> Result<u64, DbErr> {
    let swept = sweeper::sweep(&db, &settings.sweeper, Relay::new(&settings)).await?;
    if swept.cancelled > 0 {
        // Voids may be due, and clients may wait for these quotes.
        signals.wake.send();
        signals.settled.send();
    }
    Ok(swept.left())
}
