//! The sweeper: finds quotes that stay pending for too long, whichever strategy they were submitted with.
//!
//! It alerts, or cancels them as every other cancellation does ([`quotes::cancel`]). If the answer of the destination comes at
//! the same moment, either it is first, and the quote stays confirmed, or it finds the quote cancelled, and the fee is voided.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::quote::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveEnum,
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
    sea_query::{Asterisk, Expr, Func, Query, SelectStatement},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    clock::{SKEW_MAX, after},
    database::Database,
    quotes::{self, Cancellation, Relay, Status},
    settings::{self, SweepAction},
    telemetry::metrics,
};

/// Its name among the fleet's jobs, under which `/metrics` finds how many quotes are stale.
pub const JOB: &str = "sweeper";

/// Quotes that are read at a time; each is cancelled in a transaction of its own.
const BATCH_SIZE: u64 = 100;
/// Up to how many are counted: an outage of days leaves any number.
pub const COUNTED_MAX: u64 = 10_000;
/// How many quotes a log line names.
const NAMED_MAX: u64 = 5;

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Quotes that were pending for too long, counted up to [`COUNTED_MAX`].
    pub stale: u64,
    /// The oldest of them.
    pub oldest: Vec<Uuid>,
    /// How many were cancelled; the others were settled at the last moment.
    pub cancelled: u64,
}

impl Swept {
    /// How many are still stale.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.stale.saturating_sub(self.cancelled)
    }
}

/// Quotes that are pending for too long, whatever is done about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StaleQuotes {
    /// How many there are, counted up to 10,000.
    pub count: u64,
    /// From which age on a pending quote is one of them: `sweeper.stale_after`.
    pub after_seconds: u64,
    /// The oldest of them, oldest first.
    pub oldest: Vec<StaleQuote>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StaleQuote {
    /// Which.
    pub quote_id: Uuid,
    /// When it was submitted.
    pub submitted_at: DateTime<Utc>,
}

/// Counts the quotes that are pending for longer than `stale_after`, and names up to `limit` of them.
///
/// # Errors
/// Any database error.
pub async fn stale_quotes(db: &Database, stale_after: Duration, limit: u64) -> Result<StaleQuotes, DbErr> {
    let connection = db.connection();
    let bounds = Bounds::of(db.now(connection).await?, stale_after);
    let (mut count, mut named) = (0, Vec::new());
    for band in Band::ALL {
        count += count_stale(connection, band, bounds).await?;
        let left = limit.saturating_sub(named.len() as u64);
        if count > 0 && left > 0 {
            named.extend(oldest(connection, band, bounds, None, left).await?);
        }
    }
    let oldest = named.into_iter().map(|(submitted_at, quote_id)| StaleQuote { quote_id, submitted_at });
    Ok(StaleQuotes { count, after_seconds: stale_after.as_secs(), oldest: oldest.collect() })
}

/// Looks once for quotes that are pending for longer than `sweeper.stale_after`, and does what `sweeper.action` says. `relay` stores the news of what it cancels.
///
/// # Errors
/// Any database error; quotes that are cancelled by then stay cancelled.
pub async fn sweep(db: &Database, settings: &settings::Sweeper, relay: Relay) -> Result<Swept, DbErr> {
    let now = db.now(db.connection()).await?;
    begin_to_count(db.connection(), now).await?;
    let found = stale_quotes(db, settings.stale_after, NAMED_MAX).await?;
    let mut swept = Swept { stale: found.count, ..Swept::default() };
    if swept.stale == 0 {
        metrics::stale_quotes(0);
        return Ok(swept);
    }
    swept.oldest = found.oldest.into_iter().map(|quote| quote.quote_id).collect();
    if settings.action == SweepAction::Cancel {
        for band in Band::ALL {
            swept.cancelled += cancel_all(db, band, Bounds::of(now, settings.stale_after), settings, relay).await?;
        }
    }
    metrics::stale_quotes(swept.left());
    let Swept { stale, oldest, cancelled } = &swept;
    let oldest: Vec<_> = oldest.iter().map(Uuid::to_string).collect();
    let oldest = oldest.join(" ");
    tracing::warn!(stale, cancelled, stale_after = ?settings.stale_after, oldest, "quotes are pending for too long");
    Ok(swept)
}

async fn cancel_all(
    db: &Database,
    band: Band,
    bounds: Bounds,
    settings: &settings::Sweeper,
    relay: Relay,
) -> Result<u64, DbErr> {
    let stale_after = humantime::format_duration(settings.stale_after);
    let reason = format!("pending for longer than sweeper.stale_after = {stale_after}");
    let (mut cancelled, mut last) = (0, None);
    loop {
        let batch = oldest(db.connection(), band, bounds, last, BATCH_SIZE).await?;
        // The next batch begins after this one, so that a quote that cannot be cancelled comes up only once in a sweep.
        last = batch.last().copied();
        if last.is_none() {
            return Ok(cancelled);
        }
        for (_, id) in batch {
            let cancellation = Cancellation::of(id, Some(&reason), None).by(JOB);
            cancelled += u64::from(quotes::cancel_pending(db, relay, cancellation).await?);
        }
    }
}

/// Quotes whose age counts from their submission, and those that a clock which ran ahead has dated in the future: an index
/// finds either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Submitted long ago.
    Past,
    /// Submitted in the future.
    Ahead,
}

impl Band {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Past, Self::Ahead];
}

/// Between which times a quote is stale.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pending_before: DateTime<Utc>,
    /// What was stored after this time was stored by a clock that ran ahead.
    ahead: DateTime<Utc>,
}

impl Bounds {
    /// When quotes are stale that are pending for longer than `stale_after`.
    #[must_use]
    pub fn of(now: DateTime<Utc>, stale_after: Duration) -> Self {
        Self { pending_before: now - stale_after, ahead: after(now, SKEW_MAX) }
    }
}

/// Pending for too long: submitted before that, and not brought back by an operator since. A quote that was submitted in the
/// future is as old as what happened to it last, see [`begin_to_count`].
fn stale(band: Band, Bounds { pending_before, ahead }: Bounds) -> Select<Entity> {
    let changed = Column::UpdatedAt.lt(pending_before);
    match band {
        Band::Past => {
            pending().filter(Column::SubmittedAt.lt(pending_before)).filter(changed.or(Column::UpdatedAt.gt(ahead)))
        }
        Band::Ahead => pending().filter(Column::SubmittedAt.gt(ahead)).filter(changed),
    }
}

/// The status is spelled out and not bound, for the sake of a partial index.
fn pending() -> Select<Entity> {
    Entity::find().filter(is_pending())
}

fn is_pending() -> Expr {
    let pending = Expr::cust(format!("'{}'", Status::Pending.to_value()));
    Expr::col((Entity, Column::Status)).eq(pending)
}

/// The age of a quote that was submitted in the future is unknown: it counts from the first sweep that finds it.
async fn begin_to_count(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<(), DbErr> {
    let ahead = after(now, SKEW_MAX);
    let seen = pending().filter(Column::SubmittedAt.gt(ahead)).filter(Column::UpdatedAt.gt(ahead));
    if seen.clone().select_only().column(Column::Id).into_tuple::<Uuid>().one(db).await?.is_none() {
        return Ok(());
    }
    Entity::update_many()
        .set(ActiveModel { updated_at: Set(now), ..Default::default() })
        .filter(is_pending())
        .filter(Column::SubmittedAt.gt(ahead))
        .filter(Column::UpdatedAt.gt(ahead))
        .exec(db)
        .await
        .map(drop)
}

async fn oldest(
    db: &impl ConnectionTrait,
    band: Band,
    bounds: Bounds,
    last: Option<(DateTime<Utc>, Uuid)>,
    limit: u64,
) -> Result<Vec<(DateTime<Utc>, Uuid)>, DbErr> {
    oldest_stale(band, bounds, last, limit).into_tuple().all(db).await
}

/// The oldest stale quotes of a band after `last`. Public so that databases can be asked for their plan.
#[must_use]
pub fn oldest_stale(band: Band, bounds: Bounds, last: Option<(DateTime<Utc>, Uuid)>, limit: u64) -> Select<Entity> {
    let mut quotes = stale(band, bounds).select_only().columns([Column::SubmittedAt, Column::Id]);
    if let Some((at, id)) = last {
        let same_time = Condition::all().add(Column::SubmittedAt.eq(at)).add(Column::Id.gt(id));
        // The first bound is implied by the second, and the only one that an index can begin at.
        quotes = quotes
            .filter(Column::SubmittedAt.gte(at))
            .filter(Condition::any().add(Column::SubmittedAt.gt(at)).add(same_time));
    }
    quotes.order_by_asc(Column::SubmittedAt).order_by_asc(Column::Id).limit(limit)
}

async fn count_stale(db: &impl ConnectionTrait, band: Band, bounds: Bounds) -> Result<u64, DbErr> {
    let row = db.query_one(&number_of_stale(band, bounds, COUNTED_MAX)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(count.try_into().unwrap_or(0))
}

/// How many quotes are stale, counted up to `limit`. Public so that databases can be asked for their plan.
#[must_use]
pub fn number_of_stale(band: Band, bounds: Bounds, limit: u64) -> SelectStatement {
    let some = stale(band, bounds).select_only().column(Column::Id).order_by_asc(Column::SubmittedAt).limit(limit);
    Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(some.into_query(), "some").to_owned()
}
