//! Making events due for an operator: dead ones live again, pending ones are due earlier. Their failures stay on record, and
//! an unknown outcome stays unknown: the next attempt still looks up before it sends.

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, Func, LikeExpr},
};
use uuid::Uuid;

use super::{Event, EventStatus};
use crate::database::{DatabaseTransaction, padded};

/// What can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revivable {
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

/// Revives those of events `ids` that are dead, and makes those due earlier that wait. `due_at(n)` is when the n-th of the ids, from
/// 0, is due. Returns the events that it changed, as they were; the others stay as they are.
///
/// # Errors
/// Any database error.
pub async fn revive(
    txn: &DatabaseTransaction,
    ids: &[Uuid],
    now: DateTime<Utc>,
    due_at: impl Fn(usize) -> DateTime<Utc>,
) -> Result<Vec<Event>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let locked = Entity::find()
        .filter(Column::Id.is_in(padded(ids.iter().copied())))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .all(txn)
        .await?;
    let (mut dead, mut pending, mut revived) = (Vec::new(), Vec::new(), Vec::new());
    for event in locked {
        let due_at = ids.iter().position(|id| *id == event.id).map_or(now, &due_at);
        match event.status {
            EventStatus::Dead => dead.push((event.id, due_at)),
            EventStatus::Pending if event.due_at > due_at => pending.push((event.id, due_at)),
            _ => continue,
        }
        revived.push(event);
    }
    make_live(txn, Revivable::Dead, &dead, now).await?;
    make_live(txn, Revivable::Pending, &pending, now).await?;
    Ok(revived)
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
