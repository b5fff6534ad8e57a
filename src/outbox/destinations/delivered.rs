//! Whether a destination takes anything at present: the query for its latest deliveries.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Status};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Alias, Expr, Query, SelectStatement},
};

use crate::outbox::status_in;

/// How many of the events that settled last are searched for a delivery.
const SETTLED_SEARCHED_MAX: u64 = 1_000;

/// The query for an event of `name` that was delivered after `since`, and not after `now`. It reads the events that settled
/// last, and no more than a thousand of them. Public so that tests can ask databases for their plans.
#[must_use]
pub fn delivered_lately(backend: DbBackend, name: &str, since: DateTime<Utc>, now: DateTime<Utc>) -> SelectStatement {
    // As the index is: partial over both where the database has that, and led by the status on MariaDB.
    let statuses: &[Status] = match backend {
        DbBackend::MySql => &[Status::Delivered],
        _ => &[Status::Delivered, Status::Cancelled],
    };
    let last = Entity::find()
        .select_only()
        .columns([Column::Destination, Column::Status])
        .filter(status_in(statuses))
        .filter(Column::SettledAt.gt(since))
        // Times in the future, by a clock that ran ahead, say nothing.
        .filter(Column::SettledAt.lte(now))
        .order_by_desc(Column::SettledAt)
        .limit(SETTLED_SEARCHED_MAX)
        .into_query();
    let lately = Alias::new("lately");
    Query::select()
        .expr(Expr::val(1))
        .from_subquery(last, lately.clone())
        .and_where(Expr::col((lately.clone(), Column::Destination)).eq(name))
        .and_where(Expr::col((lately, Column::Status)).eq(Status::Delivered))
        .limit(1)
        .take()
}
