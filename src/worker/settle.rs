//! Storing the results of deliveries, so that one that cannot be stored costs its own event alone.

use sea_orm::DbErr;

use super::{Worker, logging};
use crate::{
    crash,
    database::{self, Kind},
    destination::Destination,
    outbox::{self, Attempt, DestinationName, Disposition, Hold, Outcome, Receipt, SettleReport, Settled},
    supervision::caught,
};

/// So many results that fail alone for an unknown reason, while none is stored, prove that nothing can be stored at present.
const SUSPECTS_MAX: usize = 8;

/// The result of a try to settle.
pub(super) struct Settlement<R> {
    /// Attempts that were settled, with what became of their events.
    pub settled: Vec<(Attempt<R>, Disposition)>,
    /// Attempts that could not be settled at present: to be tried again.
    pub left: Vec<Attempt<R>>,
    /// What holds the destination back. Read only if an attempt failed.
    pub held: Option<Held>,
    /// Events can be delivered that were held back before.
    pub unblocks: bool,
}

/// What holds a destination back, as it was read from the database.
pub(super) struct Held {
    /// All of it.
    pub hold: Option<Hold>,
    /// Its lanes whose circuits are open.
    pub lanes: Vec<&'static DestinationName>,
}

/// What holds the destination of `worker` back now.
pub(super) async fn held_now<D: Destination>(worker: &Worker<D>) -> Result<Held, DbErr> {
    let hold = outbox::hold_now(&worker.db, worker.destination.name()).await?;
    Ok(Held { hold, lanes: outbox::held_lanes(worker.db.connection(), worker.destination.lanes()).await? })
}

/// What one transaction stored.
struct Stored {
    became: Vec<Disposition>,
    held: Option<Held>,
    unblocks: bool,
}

/// Why a batch was not stored.
struct Failed {
    remedy: Remedy,
    why: String,
}

/// What to do about a batch that was not stored.
enum Remedy {
    /// The database is unavailable, busy or too slow: the same batch may succeed later, and a smaller one sooner.
    Later,
    /// A value is refused, for this reason: a batch without it succeeds.
    Isolate(&'static str),
    /// Unknown: it may be one result's fault, or true for all.
    Suspect,
}

impl Remedy {
    fn of(error: &DbErr) -> Self {
        if let Some(fault) = database::bad_data(error) {
            return Self::Isolate(fault);
        }
        match database::kind(error) {
            Kind::Conflict | Kind::Busy | Kind::Unavailable | Kind::ReadOnly | Kind::Full | Kind::Denied => Self::Later,
            Kind::TooLarge | Kind::Internal => Self::Suspect,
        }
    }
}

/// Settles `attempts`. It never fails:
///
/// * While the database is unavailable or too slow, all is left for later, and then tried in smaller batches. Trying again is
///   safe even after a commit whose answer was lost: the lease tokens show that it was this very attempt.
/// * Any other error may be one result's fault: the batch is halved until the culprit is alone. It is settled as dead with
///   a text of ours, since the foreign one may be what cannot be stored; the others are settled as what they are. An error
///   that blames no value proves nothing by failing alone: it counts only if others of its kind are stored meanwhile.
pub(super) async fn settle<D: Destination>(
    worker: &Worker<D>,
    attempts: Vec<Attempt<D::Receipt>>,
) -> Settlement<D::Receipt> {
    let attempts = attempts.into_iter().map(checked).collect();
    let settlement = Settlement { settled: Vec::new(), left: Vec::new(), held: None, unblocks: false };
    let mut settling = Batches { worker, settlement, untried: vec![attempts], suspects: Vec::new() };
    while let Some(batch) = settling.untried.pop() {
        settling.try_to_store(batch).await;
    }
    settling.judge_suspects().await;
    settling.settlement
}

/// An answer that no database can keep is condemned before it fails the others.
fn checked<R: Receipt>(attempt: Attempt<R>) -> Attempt<R> {
    let Outcome::Delivered(receipt) = &attempt.outcome else { return attempt };
    match receipt.unstorable() {
        Some(why) => condemned(attempt, why),
        None => attempt,
    }
}

/// The destination may have the event, and what it answered cannot be kept.
fn condemned<R>(attempt: Attempt<R>, why: &str) -> Attempt<R> {
    Attempt { outcome: Outcome::Broken(format!("what the destination answered cannot be stored: {why}")), ..attempt }
}

/// Two parts of a batch of several, the second of which is tried first. Deliveries have more to store than failures, so
/// these are separated before a batch is halved: what keeps all fees from being stored keeps no failure.
fn split<R>(mut batch: Vec<Attempt<R>>) -> [Vec<Attempt<R>>; 2] {
    let is_delivered = |attempt: &Attempt<R>| matches!(attempt.outcome, Outcome::Delivered(_));
    if batch.iter().any(is_delivered) && !batch.iter().all(is_delivered) {
        let (delivered, failed) = batch.into_iter().partition(is_delivered);
        return [delivered, failed];
    }
    let half = batch.split_off(batch.len() / 2);
    [half, batch]
}

/// The batches of one call of [`settle`], halved until each is stored, left or condemned.
struct Batches<'a, D: Destination> {
    worker: &'a Worker<D>,
    settlement: Settlement<D::Receipt>,
    /// What is still to be tried, the next one last.
    untried: Vec<Vec<Attempt<D::Receipt>>>,
    /// Attempts that failed alone, for a reason that blames no value.
    suspects: Vec<Attempt<D::Receipt>>,
}

impl<D: Destination> Batches<'_, D> {
    async fn try_to_store(&mut self, batch: Vec<Attempt<D::Receipt>>) {
        let failed = match self.store(&batch).await {
            Ok(stored) => return self.stored(batch, stored),
            Err(failed) => failed,
        };
        let (size, why) = (batch.len(), failed.why);
        match failed.remedy {
            Remedy::Later => {
                tracing::warn!(results = size, error = why, "could not settle, trying again");
                self.worker.settle_size.too_slow(size);
                self.leave(batch);
            }
            Remedy::Isolate(_) | Remedy::Suspect if size > 1 => {
                tracing::warn!(results = size, error = why, "could not settle together, trying each half");
                self.untried.extend(split(batch));
            }
            Remedy::Isolate(text) => self.condemn(batch, text, &why).await,
            Remedy::Suspect => {
                tracing::warn!(error = why, "could not settle one result");
                self.suspects.extend(batch);
                if self.settlement.settled.is_empty() && self.suspects.len() >= SUSPECTS_MAX {
                    self.leave(Vec::new());
                }
            }
        }
    }

    /// Nothing more is tried now.
    fn leave(&mut self, batch: Vec<Attempt<D::Receipt>>) {
        let left = &mut self.settlement.left;
        left.extend(batch);
        left.extend(self.untried.drain(..).flatten());
    }

    async fn judge_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        let all_tried = self.settlement.left.is_empty();
        let (guilty, spared): (Vec<_>, Vec<_>) =
            suspects.into_iter().partition(|suspect| all_tried && self.has_stored_the_like_of(suspect));
        self.settlement.left.extend(spared);
        for suspect in guilty {
            self.condemn(vec![suspect], "the database refuses it", "others were stored meanwhile").await;
        }
    }

    /// Whether another result was stored that takes the same statements: then it is not these that fail.
    fn has_stored_the_like_of(&self, suspect: &Attempt<D::Receipt>) -> bool {
        let kind = |attempt: &Attempt<D::Receipt>| (attempt.outcome.name(), attempt.event.event_type.clone());
        let of_suspect = kind(suspect);
        let mut stored =
            self.settlement.settled.iter().filter(|(_, became)| !matches!(became, Disposition::LeaseLost(_)));
        stored.any(|(attempt, _)| kind(attempt) == of_suspect)
    }

    async fn condemn(&mut self, batch: Vec<Attempt<D::Receipt>>, text: &str, why: &str) {
        for attempt in &batch {
            let (event, quote) = (attempt.event.id, attempt.event.aggregate_id);
            tracing::error!(%event, %quote, error = why, text, "the result of a delivery cannot be stored");
        }
        // What was never sent is no answer, and its event is not to blame.
        let (unsent, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|attempt| attempt.outcome.is_unsent());
        self.settlement.left.extend(unsent);
        let batch: Vec<_> = batch.into_iter().map(|attempt| condemned(attempt, text)).collect();
        match self.store(&batch).await {
            Ok(stored) => self.stored(batch, stored),
            Err(failed) => {
                tracing::error!(
                    error = failed.why,
                    "could not settle a result as one that cannot be stored, trying again"
                );
                self.settlement.left.extend(batch);
            }
        }
    }

    fn stored(&mut self, batch: Vec<Attempt<D::Receipt>>, stored: Stored) {
        self.worker.settle_size.in_time(batch.len());
        let settlement = &mut self.settlement;
        settlement.settled.extend(batch.into_iter().zip(stored.became));
        settlement.held = stored.held.or(settlement.held.take());
        settlement.unblocks |= stored.unblocks;
    }

    /// A panic while a result is applied is no more than an error.
    async fn store(&self, batch: &[Attempt<D::Receipt>]) -> Result<Stored, Failed> {
        let (worker, most) = (self.worker, self.worker.settings.lease);
        let storing = worker.in_time_of(&worker.settle_size, most, Box::pin(store(worker, batch)));
        match caught(storing).await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(error)) => Err(Failed { remedy: Remedy::of(&error), why: logging::chain(&error) }),
            Err(panic) => Err(Failed { remedy: Remedy::Suspect, why: format!("storing it panicked: {panic}") }),
        }
    }
}

/// What the destination stores commits together with the settled events: fee records, and the `confirmed` of their quotes.
async fn store<D: Destination>(worker: &Worker<D>, attempts: &[Attempt<D::Receipt>]) -> Result<Stored, DbErr> {
    let name = worker.destination.name();
    let (report, held) = worker
        .db
        .transaction(|txn| {
            Box::pin(async move {
                let (clock, policy) = (worker.db.clock(), &worker.policy);
                let settling = outbox::settle(&txn, clock, name, &worker.name, policy, attempts).await?;
                let settled: Vec<Settled<'_, D::Receipt>> = attempts.iter().zip(&settling.dispositions).collect();
                worker.destination.apply(&txn, &settled, settling.at).await?;
                let failed = |outcome: &Outcome<_>| !matches!(outcome, Outcome::Delivered(_)) && !outcome.is_unsent();
                let any_failed = attempts.iter().any(|attempt| failed(&attempt.outcome));
                let held = if any_failed {
                    let hold = outbox::hold(&*txn, name, settling.at).await?;
                    Some(Held { hold, lanes: outbox::held_lanes(&*txn, worker.destination.lanes()).await? })
                } else {
                    None
                };
                crash::point("before-settle-commit");
                Ok::<_, DbErr>((settling, held))
            })
        })
        .await?;
    worker.signals.settled.send();
    for (name, change) in report
        .change
        .iter()
        .map(|change| (name, change))
        .chain(report.lane_changes.iter().map(|(name, change)| (*name, change)))
    {
        logging::destination_changed(name, change);
    }
    let SettleReport { dispositions: became, unblocks_others: unblocks, at, .. } = report;
    let became: Vec<_> = became.into_iter().map(Disposition::of_any_call).collect();
    let settled: Vec<Settled<'_, D::Receipt>> = attempts.iter().zip(&became).collect();
    worker.destination.committed(&settled, at);
    Ok(Stored { became, held, unblocks })
}
