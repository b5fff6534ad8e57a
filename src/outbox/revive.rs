//! Making events due for an operator: dead ones live again, pending ones are due earlier. Their failures stay on record, and
//! an unknown outcome stays unknown: the next attempt still looks up before it sends.

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{CaseStatement, Expr, Func, LikeExpr},
};
use uuid::Uuid;

use super::{Event, EventStatus, claim::status_in};
use crate::database::DatabaseTransaction;

/// Which events a bulk retry is about.
#[derive(Clone, Debug)]
pub struct RetryFilter {
    /// In which status.
    pub status: Revivable,
    /// Only those for this destination.
    pub destination: Option<String>,
    /// Only these, for example `quote.submitted`.
    pub event_type: Option<String>,
    /// Only those whose last error contains this text, in upper or lower case.
    pub error_contains: Option<String>,
}

/// What can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revivable {
    /// Dead events: they live again.
    Dead,
    /// Pending events that are due later: they become due now.
    Pending,
}

/// Retries event `id`: a dead one becomes pending and its attempts are counted anew, a pending one is due now. Returns the event
/// as it was, locked. If it was neither dead nor pending, nothing changes.
///
/// # Errors
/// Any database error.
pub async fn revive_one(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<Option<Event>, DbErr> {
    let Some(event) = Entity::find_by_id(id).lock_exclusive().one(txn).await? else {
        return Ok(None);
    };
    match event.status {
        EventStatus::Dead => make_live(txn, Revivable::Dead, &[(id, now)], now).await?,
        EventStatus::Pending if event.due_at > now => {
            make_live(txn, Revivable::Pending, &[(id, now)], now).await?;
        }
        _ => {}
    }
    Ok(Some(event))
}

/// How many events `filter` selects.
///
/// # Errors
/// Any database error.
pub async fn revivable(db: &impl ConnectionTrait, filter: &RetryFilter, now: DateTime<Utc>) -> Result<u64, DbErr> {
    Entity::find().filter(filter.condition(now)).count(db).await
}

/// Revives up to `limit` of the events that `filter` selects and whose ids follow `after`, in the order of their ids.
/// `due_at(n)` is when the n-th of them, from 0, is due. Returns them as they were, in that order; none if all are done.
///
/// # Errors
/// Any database error.
pub async fn revive(
    txn: &DatabaseTransaction,
    filter: &RetryFilter,
    after: Uuid,
    limit: u64,
    now: DateTime<Utc>,
    due_at: impl Fn(usize) -> DateTime<Utc>,
) -> Result<Vec<Event>, DbErr> {
    let events = Entity::find()
        .filter(filter.condition(now))
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .lock_exclusive()
        .all(txn)
        .await?;
    let due: Vec<_> = events.iter().enumerate().map(|(n, event)| (event.id, due_at(n))).collect();
    make_live(txn, filter.status, &due, now).await?;
    Ok(events)
}

/// One statement, also if the events are due at different times.
async fn make_live(
    txn: &DatabaseTransaction,
    status: Revivable,
    due: &[(Uuid, DateTime<Utc>)],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let Some((_, first)) = due.first() else { return Ok(()) };
    let mut row = match status {
        Revivable::Pending => ActiveModel::default(),
        Revivable::Dead => ActiveModel {
            status: Set(EventStatus::Pending),
            attempts: Set(0),
            live_since: Set(now),
            settled_at: Set(None),
            ..Default::default()
        },
    };
    let mut update = Entity::update_many();
    if due.iter().all(|(_, due_at)| due_at == first) {
        row.due_at = Set(*first);
    } else {
        let each = due
            .iter()
            .fold(CaseStatement::new(), |each, (id, due_at)| each.case(Column::Id.eq(*id), Expr::val(*due_at)));
        update = update.col_expr(Column::DueAt, each.into());
    }
    update.set(row).filter(Column::Id.is_in(due.iter().map(|(id, _)| *id))).exec(txn).await.map(drop)
}

impl RetryFilter {
    fn condition(&self, now: DateTime<Utc>) -> Condition {
        let selected = match self.status {
            Revivable::Dead => Condition::all().add(status_in(&[EventStatus::Dead])),
            Revivable::Pending => Condition::all().add(status_in(&[EventStatus::Pending])).add(Column::DueAt.gt(now)),
        };
        selected
            .add_option(self.destination.as_ref().map(|name| Column::Destination.eq(name)))
            .add_option(self.event_type.as_ref().map(|event_type| Column::EventType.eq(event_type)))
            .add_option(self.error_contains.as_ref().map(|text| error_contains(text)))
    }
}

/// The escape is `!`, because a backslash is one already in `MariaDB`'s string literals.
pub(crate) fn error_contains(text: &str) -> Expr {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Expr::expr(Func::lower(Expr::col(Column::LastError))).like(LikeExpr::new(pattern).escape('!'))
}
