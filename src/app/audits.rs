//! The audit, by its schedule and when operators ask for it.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::sleep;

use super::Parts;
use crate::{
    audit::{self, Occasion, Watched},
    database::within,
};

/// How many violations a run logs; `feebox audit` prints them all.
const VIOLATIONS_LOGGED_MAX: u64 = 20;
/// A process that is woken looks no more often than this whether an operator asks for an audit.
const LOOK_GAP: Duration = Duration::from_secs(2);
/// A run that takes longer waits for a database that will never answer.
const RUN_MAX: Duration = Duration::from_mins(15);

/// Runs the audits that operators ask for, until the process stops. It looks at each tick of the worker, and when it is woken.
pub(super) async fn answer_requests(parts: Parts) {
    let (drain, mut wakes) = (parts.signals.drain.clone(), parts.signals.wake.listen());
    while !drain.is_cancelled() {
        if let Err(error) = within(RUN_MAX, run_if_requested(&parts)).await {
            tracing::warn!(%error, "could not answer a request for an audit, trying again");
        }
        let woken = async {
            sleep(LOOK_GAP).await;
            wakes.heard().await;
        };
        tokio::select! {
            () = drain.cancelled() => {}
            () = woken => {}
        }
    }
}

/// Runs the audit if an operator has asked for it.
pub(super) async fn run_if_requested(parts: &Parts) -> Result<(), DbErr> {
    if audit::is_requested(&parts.db).await? {
        check(parts, Occasion::Request).await?;
    }
    Ok(())
}

/// Checks the promises, a bounded piece of all quotes; returns how many violations are known.
pub(super) async fn check(parts: &Parts, occasion: Occasion) -> Result<u64, DbErr> {
    let Parts { db, reads, settings, member, signals, .. } = parts;
    let mut logged = 0;
    let tell = |violation: &audit::Violation| {
        if logged < VIOLATIONS_LOGGED_MAX {
            let (promise, quote, sentence) = (violation.promise, violation.quote_id, &violation.sentence);
            tracing::error!(promise, %quote, sentence, "a promise is broken");
        }
        logged += 1;
    };
    let delivered_for = settings.retention.delivered_for;
    let ran = audit::run(reads.clone(), &member.name, occasion, delivered_for, &signals.drain, tell).await?;
    let Some(watched) = ran else { return audit::violations(db).await };
    for row in &watched.ahead.named {
        tracing::warn!(row, "a clock ran ahead");
    }
    let Watched { changed, quotes, violations, ahead, is_up_to_date, is_whole } = watched;
    let (ahead, requested) = (ahead.rows, occasion == Occasion::Request);
    tracing::info!(changed, quotes, violations, ahead, is_up_to_date, is_whole, requested, "audited");
    Ok(violations)
}
