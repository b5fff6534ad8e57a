//! Is there anything to do? One statement, no transaction and no lock: an idle worker costs next to nothing.

use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{DestinationName, claim::status_in};
use crate::database::Database;

/// What a worker would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Events of the destination are due. They may still wait for an earlier one of their quote, or a hold may keep their
    /// destination back.
    pub due: bool,
    /// Leases have run out, of any destination.
    pub expired: bool,
}

/// Checks whether there is work for a run for `destination`.
///
/// # Errors
/// Any database error.
pub async fn poll(db: &Database, destination: &DestinationName) -> Result<Poll, DbErr> {
    let connection = db.connection();
    let query = work_due(destination, &db.clock().as_sql(connection.get_database_backend()));
    let row = connection.query_one(&query).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the database returned no row".into()))?;
    Ok(Poll { due: row.try_get("", "due")?, expired: row.try_get("", "expired")? })
}

/// The statement of [`poll`]. Public so that tests can read its query plan.
#[must_use]
pub fn work_due(destination: &str, now: &Expr) -> SelectStatement {
    // The database's time comes from a subquery that runs once: its function may return another time for each row, and then
    // no index helps.
    let one = || Query::select().expr(Expr::val(1)).from(Entity).limit(1).to_owned();
    let due = one()
        .and_where(Column::Destination.eq(destination))
        .and_where(status_in(&[Status::Pending]))
        .and_where(Expr::col(Column::DueAt).lte(now.clone()))
        .take();
    let expired =
        one().and_where(status_in(&[Status::Leased])).and_where(Expr::col(Column::LeasedUntil).lt(now.clone())).take();
    Query::select().expr_as(Expr::exists(due), "due").expr_as(Expr::exists(expired), "expired").to_owned()
}
