//! Writing down what deliveries came to.

use std::time::{Duration, Instant};

use sea_orm::DbErr;

use super::{Worker, tell};
use crate::{
    crash,
    destination::Destination,
    outbox::{self, Attempt, Became, Held, Outcome, Settled, Settling},
    quotes::FEE_SERVER,
    telemetry::metrics,
};

/// The pause between tries to settle while the database is away.
const SETTLE_RETRY: Duration = Duration::from_millis(200);

/// Attempts that were written down.
pub(super) struct Settlement<R> {
    /// With what became of their events.
    pub settled: Vec<(Attempt<R>, Became)>,
    /// Whether their destination is to be left alone now; asked only if an attempt failed.
    pub held: Option<Held>,
    /// Others are deliverable now that were not before.
    pub frees: bool,
}

/// Settles in one transaction what has finished, and tries again while the database is away and a lease still holds.
/// Trying again is safe even after a commit whose answer was lost: the leases are gone then, and nothing matches.
pub(super) async fn settle<D: Destination>(
    worker: &Worker<D>,
    attempts: Vec<Attempt<D::Receipt>>,
) -> Result<Settlement<D::Receipt>, DbErr> {
    let held_until = attempts.iter().map(|attempt| attempt.event.lease_ends).max();
    loop {
        match worker.in_time(settle_once(worker, &attempts)).await {
            Ok((became, held, frees)) => {
                return Ok(Settlement { settled: attempts.into_iter().zip(became).collect(), held, frees });
            }
            Err(error) if held_until.is_some_and(|until| Instant::now() + SETTLE_RETRY < until) => {
                tracing::warn!(error = %tell::chain(&error), "could not settle, trying again");
                tokio::time::sleep(SETTLE_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The fee records, the events' `delivered` and the quotes' `confirmed` commit together.
async fn settle_once<D: Destination>(
    worker: &Worker<D>,
    attempts: &[Attempt<D::Receipt>],
) -> Result<(Vec<Became>, Option<Held>, bool), DbErr> {
    let destination = &worker.destination;
    let txn = worker.db.begin().await?;
    let (clock, name) = (worker.db.clock(), destination.name());
    let settling = outbox::settle(&txn, clock, name, &worker.name, &worker.policy, attempts).await?;
    let Settling { became, frees, at } = settling;
    let settled: Vec<Settled<'_, D::Receipt>> = attempts.iter().zip(&became).collect();
    destination.apply(&txn, &settled, at).await?;
    let any_failed = attempts.iter().any(|it| !matches!(it.outcome, Outcome::Delivered(_)) && !it.outcome.is_unsent());
    let held = if any_failed { outbox::held(&*txn, name, at).await? } else { None };
    crash::point("before-settle-commit");
    txn.commit().await?;
    worker.signals.settled.notify_waiters();
    for (attempt, became) in settled {
        let (is_fee, event_type) = (name == FEE_SERVER, attempt.event.event_type.as_str());
        if *became == Became::Delivered && is_fee && event_type == "quote.submitted" {
            metrics::fee_lag_seconds((at - attempt.event.created_at).as_seconds_f64());
        }
    }
    Ok((became, held, frees))
}
