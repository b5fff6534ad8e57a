//! What the fleet does once per tick, beside the deliveries.

use async_trait::async_trait;
use chrono::Utc;
use croner::errors::CronError;
use sea_orm::DbErr;

use super::Parts;
use crate::{
    audit, cron,
    outbox::{self, Repaired},
    quotes::Relay,
    submission, sweeper,
    upkeep::{Job, Upkeep},
};

/// How many violations a run logs; `feebox audit` prints them all.
const VIOLATIONS_LOGGED_MAX: u64 = 20;

/// All jobs.
pub(super) fn jobs(parts: &Parts) -> Result<Vec<Upkeep>, CronError> {
    let own = || parts.clone();
    let jobs: [Box<dyn Job>; 5] = [
        Box::new(RepairFutureTimes(own())),
        Box::new(Park(own())),
        Box::new(Prune(own())),
        Box::new(Sweep(own())),
        Box::new(Audit(own())),
    ];
    jobs.into_iter().map(|job| Upkeep::new(parts.db.clone(), parts.name.clone(), job)).collect()
}

/// Makes due what a clock that ran ahead has put off beyond all settings.
struct RepairFutureTimes(Parts);
/// Parks events that wait for an earlier one.
struct Park(Parts);
/// Deletes what retention no longer keeps.
struct Prune(Parts);
/// Finds quotes that stay pending.
struct Sweep(Parts);
/// Checks the promises.
struct Audit(Parts);

#[async_trait]
impl Job for RepairFutureTimes {
    fn name(&self) -> &'static str {
        "clock"
    }

    /// No setting: nothing is gained by a rarer check.
    fn schedule(&self) -> &'static str {
        "*/20 * * * * *"
    }

    async fn run(&self) -> Result<i64, DbErr> {
        let repaired = outbox::repair_future_times(&self.0.db).await?;
        let Repaired { due, leases, destinations } = &repaired;
        if !repaired.is_nothing() {
            let destinations = destinations.join(" ");
            tracing::warn!(due, leases, destinations, "a clock ran ahead: what waited for a far future is due now");
            self.0.signals.wake.send();
        }
        Ok(count(due + leases))
    }
}

#[async_trait]
impl Job for Park {
    fn name(&self) -> &'static str {
        "parking"
    }

    /// No setting: claims read what waits until it is parked.
    fn schedule(&self) -> &'static str {
        "*/20 * * * * *"
    }

    async fn run(&self) -> Result<i64, DbErr> {
        outbox::park(&self.0.db).await.map(count)
    }
}

#[async_trait]
impl Job for Prune {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn schedule(&self) -> &str {
        &self.0.settings.retention.schedule
    }

    async fn run(&self) -> Result<i64, DbErr> {
        let (db, retention) = (&self.0.db, &self.0.settings.retention);
        let now = db.now(db.connection()).await?;
        let (mut events, mut keys) = (0, 0);
        for _ in 0..steps_per_tick(&retention.schedule) {
            events += outbox::prune(db, now - retention.delivered_for).await?;
            keys += submission::prune_keys(db, now - retention.idempotency_keys_for).await?;
        }
        tracing::info!(events, keys, "pruned");
        Ok(count(events + keys))
    }
}

/// A step of retention goes six hours further: a schedule that ticks once a day takes as many as a day has, and one more.
fn steps_per_tick(schedule: &str) -> i64 {
    let gap = cron::parse(schedule).ok().and_then(|cron| {
        let next = cron.find_next_occurrence(&Utc::now(), false).ok()?;
        Some(cron.find_next_occurrence(&next, false).ok()? - next)
    });
    gap.map_or(1, |gap| gap.num_hours() / 6 + 1).clamp(1, 100)
}

#[async_trait]
impl Job for Sweep {
    fn name(&self) -> &'static str {
        sweeper::JOB
    }

    fn schedule(&self) -> &str {
        &self.0.settings.sweeper.schedule
    }

    async fn run(&self) -> Result<i64, DbErr> {
        let Parts { db, settings, .. } = &self.0;
        let swept = sweeper::sweep(db, &settings.sweeper, Relay::new(settings)).await?;
        if swept.cancelled > 0 {
            // Voids may be due, and clients may wait for these quotes.
            self.0.signals.wake.send();
            self.0.signals.settled.send();
        }
        Ok(count(swept.left()))
    }
}

#[async_trait]
impl Job for Audit {
    fn name(&self) -> &'static str {
        audit::JOB
    }

    fn schedule(&self) -> &str {
        &self.0.settings.audit.schedule
    }

    async fn run(&self) -> Result<i64, DbErr> {
        let mut logged = 0;
        let delivered_for = self.0.settings.retention.delivered_for;
        let report = audit::audit(&self.0.db, delivered_for, |violation| {
            if logged < VIOLATIONS_LOGGED_MAX {
                let (promise, quote, sentence) = (violation.promise, violation.quote_id, violation.sentence);
                tracing::error!(promise, %quote, sentence, "a promise is broken");
            }
            logged += 1;
        })
        .await?;
        for row in &report.ahead.named {
            tracing::warn!(row, "a clock ran ahead");
        }
        let (violations, ahead) = (report.violations, report.ahead.rows);
        tracing::info!(quotes = report.checked, violations, ahead, "audited");
        Ok(count(violations))
    }
}

fn count(found: u64) -> i64 {
    i64::try_from(found).unwrap_or(i64::MAX)
}
