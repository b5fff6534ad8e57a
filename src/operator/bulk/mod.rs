//! Retrying or cancelling many events.
//!
//! A bulk first collects its events: what fails again later is not retried twice. Then it changes them, oldest first, in
//! transactions that also note how far it is. So a process that dies costs nothing: [`resume`] goes on in another one, and every
//! event is changed once. An operator may stop it at any time; what was changed stays changed.

mod collect;
mod filter;
mod run;
mod view;

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{
    bulk::{ActiveModel, Column, Entity, Model, Status},
    bulk_piece,
};
use futures_util::future::try_join_all;
use sea_orm::{
    ActiveEnum,
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use serde_json::json;
use uuid::Uuid;

use super::{Operator, OperatorError, actions, actions::NewAction};
use crate::{
    clock,
    database::{Database, DatabaseTransaction},
    inspection::EventFilter,
    quotes::Relay,
};

pub use view::BulkView;

/// A bulk that has not gone on for as long was left by its process.
const LEFT_AFTER: Duration = Duration::from_secs(30);
/// The most bulks that a process resumes at a time.
const RESUMED_MAX: u64 = 10;
/// The most events that may be named one by one.
pub const IDS_MAX: usize = 5_000;

/// What is done to each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dead events live again; pending events that are due later become due.
    Retry,
    /// They are given up, and with a handover its quote.
    Cancel,
}

/// Which events.
#[derive(Clone, Debug)]
pub enum Which {
    /// These.
    Ids(Vec<Uuid>),
    /// Those that a list with this filter shows.
    Matching(Box<EventFilter>),
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct NewBulk {
    /// What is done.
    pub kind: Kind,
    /// To which events.
    pub which: Which,
    /// At most so many a second; as fast as the database permits without it.
    pub per_second: Option<u32>,
}

/// What one step of a bulk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Again,
    /// There is more to do after this time.
    After(Duration),
    /// It is over.
    Ended,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    fn of(row: &Model) -> Self {
        if row.kind == Self::Retry.name() { Self::Retry } else { Self::Cancel }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Retry => "outbox.retry",
            Self::Cancel => "outbox.cancel",
        }
    }
}

/// What `new` would do: how many events it is about. It changes nothing.
///
/// # Errors
/// Any database error.
pub async fn dry_run(db: &Database, operator: Operator<'_>, new: &NewBulk) -> Result<BulkView, OperatorError> {
    let matched = collect::count(db, &new.which).await?;
    let now = db.now(db.connection()).await?;
    Ok(BulkView::of_dry_run(new, operator, matched, now))
}

/// Begins a bulk, together with its entry in the log of actions. It goes on by [`work`].
///
/// # Errors
/// Any database error; then there is none.
pub async fn begin(db: &Database, operator: Operator<'_>, new: &NewBulk) -> Result<Uuid, OperatorError> {
    let begun = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let id = clock::ids(now)();
            let filter = filter::to_json(&new.which);
            let row = ActiveModel {
                id: Set(id),
                kind: Set(new.kind.name().into()),
                status: Set(Status::Collecting),
                filter: Set(filter.clone()),
                actor: Set(operator.name.into()),
                reason: Set(operator.reason.map(str::to_owned)),
                per_second: Set(new.per_second.map(|number| i32::try_from(number).unwrap_or(i32::MAX))),
                matched: Set(0),
                changed: Set(0),
                skipped: Set(0),
                collected_to: Set(None),
                pieces: Set(0),
                place: Set(0),
                created_at: Set(now),
                updated_at: Set(now),
                ended_at: Set(None),
            };
            Entity::insert(row).exec_without_returning(&*txn).await?;
            let details = json!({ "bulk_id": id, "filter": filter, "per_second": new.per_second });
            let action = NewAction { action: new.kind.action(), target: format!("bulk {id}"), quote_id: None, details };
            actions::record(&txn, operator, now, vec![action]).await?;
            Ok::<_, OperatorError>(id)
        })
    });
    let id = begun.await?;
    actions::log(operator, new.kind.action(), format_args!("bulk {id}"));
    Ok(id)
}

/// Works on bulk `id` until it is over, or until the process dies: then another one goes on with it. `changed` is called after
/// each step.
///
/// # Errors
/// Any database error; the bulk goes on where it was.
pub async fn work(db: &Database, relay: Relay, id: Uuid, changed: impl Fn() + Send + Sync) -> Result<(), DbErr> {
    loop {
        let step = step(db, relay, id).await?;
        changed();
        match step {
            Step::Again => {}
            Step::After(wait) => tokio::time::sleep(wait).await,
            Step::Ended => return Ok(()),
        }
    }
}

/// Takes bulk `id` one step further.
///
/// # Errors
/// Any database error; then nothing is changed.
pub async fn step(db: &Database, relay: Relay, id: Uuid) -> Result<Step, DbErr> {
    let Some(row) = Entity::find_by_id(id).one(db.connection()).await? else { return Ok(Step::Ended) };
    match (row.status, Kind::of(&row)) {
        (Status::Collecting, _) => collect::step(db, id).await,
        (Status::Running, Kind::Retry) => run::retry(db, id).await,
        (Status::Running, Kind::Cancel) => run::cancel(db, relay, id).await,
        (Status::Finished | Status::Aborted, _) => Ok(Step::Ended),
    }
}

/// Goes on with bulks that their processes have left. Returns how many.
///
/// # Errors
/// Any database error; the next call goes on.
pub async fn resume(db: &Database, relay: Relay, changed: impl Fn() + Send + Sync) -> Result<u64, DbErr> {
    let left = left(db).await?;
    for id in &left {
        tracing::info!(bulk_id = %id, "resumed a bulk that its process had left");
    }
    // Side by side: one that takes its time holds up no other.
    try_join_all(left.iter().map(|id| work(db, relay, *id, &changed))).await?;
    Ok(left.len() as u64)
}

async fn left(db: &Database) -> Result<Vec<Uuid>, DbErr> {
    let now = db.now(db.connection()).await?;
    let unfinished = [Status::Collecting, Status::Running].map(|status| Expr::cust(format!("'{}'", status.to_value())));
    Entity::find()
        .select_only()
        .column(Column::Id)
        // Spelled out: a partial index is used only if its condition can be read.
        .filter(Expr::col((Entity, Column::Status)).is_in(unfinished))
        .filter(Column::UpdatedAt.lt(now - LEFT_AFTER))
        .limit(RESUMED_MAX)
        .into_tuple()
        .all(db.connection())
        .await
}

/// Stops bulk `id`. What was changed stays changed. Returns how far it came.
///
/// # Errors
/// [`OperatorError::Conflict`] if it is over.
pub async fn abort(db: &Database, operator: Operator<'_>, id: Uuid) -> Result<BulkView, OperatorError> {
    let aborted = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let row = locked(&txn, id).await?.ok_or_else(|| no_bulk(id))?;
            if row.ended_at.is_some() {
                return Err(OperatorError::Conflict(format!("the bulk is {} already", row.status.to_value())));
            }
            end(&txn, id, Status::Aborted, now).await?;
            let details = json!({ "bulk_id": id, "matched": row.matched, "changed": row.changed });
            let action = NewAction { action: "bulk.abort", target: format!("bulk {id}"), quote_id: None, details };
            actions::record(&txn, operator, now, vec![action]).await?;
            Ok::<_, OperatorError>(())
        })
    });
    aborted.await?;
    actions::log(operator, "bulk.abort", format_args!("bulk {id}"));
    get(db, id).await
}

/// How far bulk `id` is.
///
/// # Errors
/// [`OperatorError::NotFound`] if there is none.
pub async fn get(db: &Database, id: Uuid) -> Result<BulkView, OperatorError> {
    let row = Entity::find_by_id(id).one(db.connection()).await?.ok_or_else(|| no_bulk(id))?;
    let now = db.now(db.connection()).await?;
    Ok(BulkView::of(row, now))
}

fn no_bulk(id: Uuid) -> OperatorError {
    OperatorError::NotFound(format!("bulk {id}"))
}

/// The row of bulk `id`, locked: two processes that work on it take turns.
async fn locked(txn: &DatabaseTransaction, id: Uuid) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).lock_exclusive().one(txn).await
}

async fn save(txn: &DatabaseTransaction, id: Uuid, change: ActiveModel) -> Result<(), DbErr> {
    Entity::update_many().set(change).filter(Column::Id.eq(id)).exec(txn).await.map(drop)
}

async fn end(txn: &DatabaseTransaction, id: Uuid, status: Status, now: DateTime<Utc>) -> Result<(), DbErr> {
    use bulk_piece::Column as Piece;
    bulk_piece::Entity::delete_many().filter(Piece::BulkId.eq(id)).exec(txn).await?;
    let ended = ActiveModel {
        status: Set(status),
        pieces: Set(0),
        place: Set(0),
        updated_at: Set(now),
        ended_at: Set(Some(now)),
        ..Default::default()
    };
    save(txn, id, ended).await
}
