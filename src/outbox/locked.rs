//! The first query of settling: the rows of its events, locked.

use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement},
};
use uuid::Uuid;

use super::destinations;
use crate::database::{found_status, padded};

/// The rows of `ids`, locked in the order of their ids. All code that locks several events keeps to this order, so it never
/// deadlocks. The query also returns `now`, and whether failures of `destination` are counted.
/// Public so that tests can read its query plan.
#[must_use]
pub fn locked(destination: &str, now: Expr, ids: impl Iterator<Item = Uuid>) -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::Status, Column::Attempts, Column::DueAt, Column::Withdrawn])
        .columns([Column::LeaseToken, Column::LeasedUntil, Column::LeasedBy])
        .expr_as(Expr::exists(a_later_pending_event()), "followed")
        .expr_as(Expr::exists(destinations::failures_counted(destination)), "failures_counted")
        .expr_as(now, "now")
        .filter(Column::Id.is_in(padded(ids)))
        .order_by_asc(Column::Id)
        .lock_exclusive()
}

fn a_later_pending_event() -> SelectStatement {
    let later = Alias::new("later");
    Query::select()
        .expr(Expr::val(1))
        .from_as(Entity, later.clone())
        .and_where(Expr::col((later.clone(), Column::AggregateId)).equals((Entity, Column::AggregateId)))
        .and_where(Expr::col((later.clone(), Column::Destination)).equals((Entity, Column::Destination)))
        .and_where(Expr::col((later.clone(), Column::Sequence)).gt(Expr::col((Entity, Column::Sequence))))
        .and_where(found_status((later, Column::Status), [Status::Pending]))
        // Looked up row by row in the unique index of the order: an offset keeps planners from joining.
        .limit(1)
        .offset(0)
        .take()
}
