//! The second part of a bulk: its events are changed, oldest first.

use std::{num::NonZeroU32, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    bulk::{ActiveModel, Entity, Model, Status},
    bulk_piece,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use super::{Step, end, locked, save};
use crate::{
    clock::after,
    crash,
    database::{self, Database, DatabaseTransaction, Kind},
    operator::{Operator, actions, actions::NewAction, cancel_many::cancel_many},
    outbox,
    quotes::{self, Relay},
};

/// The most events of a transaction that retries: locks are held for milliseconds.
const BATCH: usize = 500;
/// The most events of a transaction that cancels, which locks the quotes and stores more.
const CANCELLED_BATCH: usize = 256;
/// The same where a database has one writer, and statements cost no round trip: others wait for tens of milliseconds.
const ONE_WRITERS_BATCH: usize = 64;
/// A cancellation at a pace is this far ahead of it, at most.
const CANCELLED_AHEAD: Duration = Duration::from_secs(1);
/// Events that are retried at a pace become due this long after they are revived, at most: then a bulk that is aborted stops.
const AHEAD: Duration = Duration::from_secs(10);

/// Revives a batch.
pub(super) async fn retry(db: &Database, id: Uuid) -> Result<Step, DbErr> {
    let step = db.transaction(|txn| Box::pin(async move { retry_in(&txn, db, id).await })).await;
    crash::point("after-bulk-commit");
    step
}

async fn retry_in(txn: &DatabaseTransaction, db: &Database, id: Uuid) -> Result<Step, DbErr> {
    let now = db.now(txn).await?;
    let Some(row) = locked(txn, id).await?.filter(|row| row.status == Status::Running) else { return Ok(Step::Again) };
    let pace = Pace::of(&row);
    let most = pace.map_or(BATCH, |pace| pace.in_time(AHEAD).clamp(1, BATCH));
    if let Some(wait) = pace.and_then(|pace| pace.wait(now + AHEAD, most)) {
        return pausing(txn, id, now, wait).await;
    }
    let Some(batch) = next(txn, &row, most).await? else { return ended(txn, id, now).await };
    let due_at = |n: usize| pace.map_or(now, |pace| pace.due_at(n).max(now));
    let revived = outbox::revive(txn, &batch.ids, now, due_at).await?;
    quotes::reopen(txn, &revived, now).await?;
    let each = revived.iter().map(|event| NewAction {
        action: actions::REVIVE,
        target: event.id.to_string(),
        quote_id: Some(event.aggregate_id),
        details: json!({ "bulk_id": id, "attempts_before": event.attempts }),
    });
    let operator = Operator { name: &row.actor, reason: row.reason.as_deref() };
    actions::record(txn, operator, now, each.collect()).await?;
    note(txn, &row, &batch, revived.len(), now).await
}

/// Cancels a batch. If the database refuses it, smaller ones are tried down to one event, and an event that is to blame is passed over.
pub(super) async fn cancel(db: &Database, relay: Relay, id: Uuid) -> Result<Step, DbErr> {
    let mut most = if db.has_one_writer() { ONE_WRITERS_BATCH } else { CANCELLED_BATCH };
    loop {
        // A value that the driver cannot represent is its row's fault, and no more than an error.
        let cancelled = database::reading(batch_of(db, relay, id, Take::Cancel(most))).await;
        let Err(error) = cancelled else { return cancelled };
        let kind = database::kind(&error);
        let may_be_smaller = !matches!(kind, Kind::Unavailable | Kind::ReadOnly | Kind::Full | Kind::Denied);
        if most > 1 && may_be_smaller {
            tracing::warn!(bulk_id = %id, events = most, %error, "could not cancel together, trying fewer");
            most /= 2;
        } else if most == 1 && is_to_blame(db, id, &error).await? {
            tracing::error!(bulk_id = %id, %error, "passed over an event that cannot be cancelled");
            return batch_of(db, relay, id, Take::PassOver).await;
        } else {
            return Err(error);
        }
    }
}

/// Whether an event that failed alone with `error` is its cause. An error that we do not know says nothing about the event, unless
/// others of the bulk were cancelled.
async fn is_to_blame(db: &Database, id: Uuid, error: &DbErr) -> Result<bool, DbErr> {
    if database::bad_data(error).is_some() {
        return Ok(true);
    }
    if !matches!(database::kind(error), Kind::TooLarge | Kind::Internal) {
        return Ok(false);
    }
    let row = Entity::find_by_id(id).one(db.connection()).await?;
    Ok(row.is_some_and(|row| row.changed > 0))
}

/// What is done with the events that are next.
#[derive(Clone, Copy)]
enum Take {
    /// So many are cancelled, at most.
    Cancel(usize),
    /// The first one is passed over.
    PassOver,
}

async fn batch_of(db: &Database, relay: Relay, id: Uuid, take: Take) -> Result<Step, DbErr> {
    let step = db.transaction(|txn| Box::pin(async move { cancel_in(&txn, db, relay, id, take).await })).await;
    crash::point("after-bulk-commit");
    step
}

async fn cancel_in(
    txn: &DatabaseTransaction,
    db: &Database,
    relay: Relay,
    id: Uuid,
    take: Take,
) -> Result<Step, DbErr> {
    let now = db.now(txn).await?;
    let Some(row) = locked(txn, id).await?.filter(|row| row.status == Status::Running) else { return Ok(Step::Again) };
    let pace = Pace::of(&row);
    let most = match take {
        Take::Cancel(most) => pace.map_or(most, |pace| pace.in_time(CANCELLED_AHEAD).clamp(1, most)),
        Take::PassOver => 1,
    };
    let Some(batch) = next(txn, &row, most).await? else { return ended(txn, id, now).await };
    if let Some(wait) = pace.and_then(|pace| pace.wait(now, batch.ids.len())) {
        return pausing(txn, id, now, wait).await;
    }
    let operator = Operator { name: &row.actor, reason: row.reason.as_deref() };
    let changed = match take {
        Take::Cancel(_) => cancel_many(txn, relay, operator, &batch.ids, now, id).await?,
        Take::PassOver => 0,
    };
    note(txn, &row, &batch, changed, now).await
}

/// Events that are done next.
struct Batch {
    ids: Vec<Uuid>,
    /// They are the last ones of their piece.
    ends_piece: bool,
}

async fn next(txn: &DatabaseTransaction, row: &Model, most: usize) -> Result<Option<Batch>, DbErr> {
    let Some(piece) = bulk_piece::Entity::find_by_id((row.id, row.pieces)).one(txn).await? else { return Ok(None) };
    let ids = piece.event_ids.as_array().map(Vec::as_slice).unwrap_or_default();
    let ids = ids.iter().filter_map(|id| Uuid::try_parse(id.as_str()?).ok());
    let left: Vec<_> = ids.skip(usize::try_from(row.place).unwrap_or(0)).collect();
    let ends_piece = left.len() <= most;
    Ok(Some(Batch { ids: left.into_iter().take(most).collect(), ends_piece }))
}

/// Notes that `batch` is done, and `changed` of it changed.
async fn note(
    txn: &DatabaseTransaction,
    row: &Model,
    batch: &Batch,
    changed: usize,
    now: DateTime<Utc>,
) -> Result<Step, DbErr> {
    use bulk_piece::Column as Piece;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut done = ActiveModel {
        changed: Set(row.changed + count(changed)),
        skipped: Set(row.skipped + count(batch.ids.len() - changed)),
        updated_at: Set(now),
        ..Default::default()
    };
    if batch.ends_piece {
        let of_it = bulk_piece::Entity::delete_many().filter(Piece::BulkId.eq(row.id));
        of_it.filter(Piece::Number.eq(row.pieces)).exec(txn).await?;
        (done.pieces, done.place) = (Set(row.pieces - 1), Set(0));
    } else {
        done.place = Set(row.place + i32::try_from(batch.ids.len()).unwrap_or(i32::MAX));
    }
    save(txn, row.id, done).await?;
    let step = if batch.ends_piece && row.pieces == 1 { ended(txn, row.id, now).await? } else { Step::Again };
    crash::point("before-bulk-commit");
    Ok(step)
}

async fn ended(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<Step, DbErr> {
    end(txn, id, Status::Finished, now).await?;
    Ok(Step::Ended)
}

/// Says that it is alive while it waits.
async fn pausing(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>, wait: Duration) -> Result<Step, DbErr> {
    save(txn, id, ActiveModel { updated_at: Set(now), ..Default::default() }).await?;
    Ok(Step::After(wait.min(AHEAD)))
}

/// At most so many a second since the beginning.
#[derive(Clone, Copy)]
struct Pace {
    per_second: NonZeroU32,
    begun: DateTime<Utc>,
    done: usize,
}

impl Pace {
    fn of(row: &Model) -> Option<Self> {
        let per_second = NonZeroU32::new(u32::try_from(row.per_second?).ok()?)?;
        let done = usize::try_from(row.changed + row.skipped).unwrap_or(0);
        Some(Self { per_second, begun: row.created_at, done })
    }

    fn in_time(self, time: Duration) -> usize {
        usize::try_from(u128::from(self.per_second.get()) * time.as_millis() / 1_000).unwrap_or(usize::MAX)
    }

    /// When the `n`-th of those that follow, from 0, has its turn.
    fn due_at(self, n: usize) -> DateTime<Utc> {
        let nanoseconds = (self.done + n) as u128 * 1_000_000_000 / u128::from(self.per_second.get());
        after(self.begun, Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
    }

    /// How long until the last of `count` events has its turn at `now`.
    fn wait(self, now: DateTime<Utc>, count: usize) -> Option<Duration> {
        let wait = self.due_at(count.saturating_sub(1)) - now;
        (wait > TimeDelta::zero()).then(|| wait.to_std().unwrap_or_default())
    }
}
