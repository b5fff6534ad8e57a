//! What the fleet does now and then beside the deliveries.

use croner::errors::CronError;

use super::Parts;
use crate::{audit, outbox, outbox::Repaired, quotes::Relay, submission, sweeper, upkeep::Upkeep};

/// How many violations a run logs; `feebox audit` prints them all.
const VIOLATIONS_LOGGED_MAX: u64 = 20;

/// When times are looked for that no setting permits. Not a setting: nothing is won by looking less often.
const CLOCK_SCHEDULE: &str = "*/20 * * * * *";

/// Each job, and its schedule.
pub(super) fn jobs(parts: &Parts) -> Result<Vec<(Upkeep, String)>, CronError> {
    Ok(vec![clock(parts)?, retention(parts)?, sweeper(parts)?, audit(parts)?])
}

fn clock(parts: &Parts) -> Result<(Upkeep, String), CronError> {
    let (db, wake) = (parts.db.clone(), parts.signals.wake.clone());
    let look = Upkeep::new(parts.db.clone(), "clock", parts.name.clone(), CLOCK_SCHEDULE, move || {
        let (db, wake) = (db.clone(), wake.clone());
        async move {
            let repaired = outbox::repair_future_times(&db).await?;
            let Repaired { due, leases, destinations } = &repaired;
            if !repaired.is_nothing() {
                let destinations = destinations.join(" ");
                tracing::warn!(due, leases, destinations, "a clock ran ahead: what waited for a far future is due now");
                wake.notify_one();
            }
            Ok(i64::try_from(due + leases).unwrap_or(i64::MAX))
        }
    })?;
    Ok((look, CLOCK_SCHEDULE.into()))
}

fn retention(parts: &Parts) -> Result<(Upkeep, String), CronError> {
    let (db, retention) = (parts.db.clone(), parts.settings.retention.clone());
    let schedule = retention.schedule.clone();
    let prune = Upkeep::new(parts.db.clone(), "retention", parts.name.clone(), &schedule, move || {
        let (db, retention) = (db.clone(), retention.clone());
        async move {
            let now = db.now(db.connection()).await?;
            let events = outbox::prune(&db, now - retention.delivered_for).await?;
            let keys = submission::prune_keys(&db, now - retention.idempotency_keys_for).await?;
            tracing::info!(events, keys, "pruned");
            Ok(i64::try_from(events + keys).unwrap_or(i64::MAX))
        }
    })?;
    Ok((prune, schedule))
}

fn sweeper(parts: &Parts) -> Result<(Upkeep, String), CronError> {
    let (db, settings) = (parts.db.clone(), parts.settings.sweeper.clone());
    let (wake, settled) = (parts.signals.wake.clone(), parts.signals.settled.clone());
    let (schedule, relay) = (settings.schedule.clone(), Relay::new(&parts.settings));
    let sweep = Upkeep::new(parts.db.clone(), sweeper::JOB, parts.name.clone(), &schedule, move || {
        let (db, settings) = (db.clone(), settings.clone());
        let (wake, settled) = (wake.clone(), settled.clone());
        async move {
            let swept = sweeper::sweep(&db, &settings, relay).await?;
            if swept.cancelled > 0 {
                // Voids may be due, and somebody may wait for these quotes.
                wake.notify_one();
                settled.notify_waiters();
            }
            Ok(i64::try_from(swept.left()).unwrap_or(i64::MAX))
        }
    })?;
    Ok((sweep, schedule))
}

fn audit(parts: &Parts) -> Result<(Upkeep, String), CronError> {
    let (db, delivered_for) = (parts.db.clone(), parts.settings.retention.delivered_for);
    let schedule = parts.settings.audit.schedule.clone();
    let audit = Upkeep::new(parts.db.clone(), audit::JOB, parts.name.clone(), &schedule, move || {
        let db = db.clone();
        async move {
            let mut logged = 0;
            let report = audit::audit(&db, delivered_for, |violation| {
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
            Ok(i64::try_from(report.violations).unwrap_or(i64::MAX))
        }
    })?;
    Ok((audit, schedule))
}
