//! A glance at the table: is there anything to do? One statement, no transaction and no lock, so that waiting for nothing
//! costs next to nothing.

use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{DestinationName, claim::status_in};
use crate::database::Database;

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Events of the destination are due. They may still wait for an earlier one of their quote, or their destination be
    /// held.
    pub due: bool,
    /// Leases have run out, whoever's.
    pub expired: bool,
}

/// Looks for what a run for `destination` would find.
///
/// # Errors
/// What the database answers.
pub async fn look(db: &Database, destination: &DestinationName) -> Result<Sight, DbErr> {
    let connection = db.connection();
    let question = anything(destination, &db.clock().as_sql(connection.get_database_backend()));
    let row = connection.query_one(&question).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the database told nothing".into()))?;
    Ok(Sight { due: row.try_get("", "due")?, expired: row.try_get("", "expired")? })
}

/// The look's own question. Public so that databases can be asked for their plan.
#[must_use]
pub fn anything(destination: &str, now: &Expr) -> SelectStatement {
    // The database's own time, by a subquery that is run once: its function may tell another time for each row, and no
    // index could be used.
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
