//! The log of what operators did. It is append-only, and only this file writes it.

use std::fmt::Display;

use chrono::{DateTime, TimeDelta, Utc};
use entity::operator_action::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Operator;
use crate::{
    clock,
    database::{self, DatabaseTransaction, Page, Scan, padded, page, with_value},
};

pub use entity::operator_action::Model as Action;

/// Rows a statement: below the 32,766 parameters that `SQLite` takes.
const ROWS_MAX: usize = 1_000;

/// An event was revived by a bulk retry. The bulk has an action of its own; this one is for the quote's timeline.
pub(super) const REVIVE: &str = "event.revive";
/// The same for a bulk that cancels.
pub(super) const GIVE_UP: &str = "event.give_up";
pub(super) const PAUSE: &str = "destination.pause";
pub(super) const LIMIT: &str = "destination.limit";
pub(super) const RESUME: &str = "destination.resume";

/// An action to log.
#[derive(Debug)]
pub(super) struct NewAction {
    /// For example `event.retry`.
    pub action: &'static str,
    /// The event or destination that it was done to.
    pub target: String,
    /// The quote that it affects, if it is one.
    pub quote_id: Option<Uuid>,
    /// Facts about it.
    pub details: Value,
}

/// An action as outsiders see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Action)]
pub struct ActionView {
    /// `UUIDv7`.
    pub id: Uuid,
    /// The token's name, or the operating system's user for the command line.
    pub actor: String,
    /// For example `event.retry`, `destination.pause`.
    pub action: String,
    /// The event or destination that it was done to.
    pub target: String,
    /// The quote that it affected, if it was one.
    pub quote_id: Option<Uuid>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Facts about it: filters, counts, what was before.
    pub details: Value,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Which actions a list shows.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Only those that affected this quote, also as one of many in a bulk. Without it a bulk is one line.
    pub quote_id: Option<Uuid>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

/// Logs `actions`, in the transaction of the change.
pub(super) async fn record(
    txn: &DatabaseTransaction,
    operator: Operator<'_>,
    now: DateTime<Utc>,
    actions: Vec<NewAction>,
) -> Result<(), DbErr> {
    let reason_bytes = operator.reason.map_or(0, str::len);
    let bytes = |action: &NewAction| 300 + reason_bytes + database::json_bytes(&action.details);
    let mut ids = clock::ids(now);
    for some in database::runs(actions, ROWS_MAX, txn.statement_bytes(), bytes) {
        let rows = some.into_iter().map(|NewAction { action, target, quote_id, details }| ActiveModel {
            id: Set(ids()),
            actor: Set(operator.name.into()),
            action: Set(action.into()),
            target: Set(target),
            quote_id: Set(quote_id),
            reason: Set(operator.reason.map(str::to_owned)),
            details: Set(details),
            created_at: Set(now),
        });
        Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

/// Writes a line of the log about what an operator did, after its commit.
pub(super) fn log(operator: Operator<'_>, action: &str, target: impl Display) {
    tracing::info!(actor = operator.name, action, %target, reason = operator.reason, "operator action");
}

/// Actions, newest first, at most `limit`.
///
/// # Errors
/// Any database error.
pub async fn list(db: &impl ConnectionTrait, filter: &ActionFilter, limit: u64) -> Result<Page<Action>, DbErr> {
    let Page { rows: ids, next } = page(db, &[scan(db.get_database_backend(), filter)], limit).await?;
    let rows = Entity::find().filter(Column::Id.is_in(padded(ids))).order_by_desc(Column::Id).all(db).await?;
    Ok(Page { rows, next })
}

/// The index that a list of actions follows. Public so that tests can ask databases for their plans.
#[must_use]
pub fn scan(backend: DbBackend, filter: &ActionFilter) -> Scan {
    let mut rows = Entity::find().select_only().columns([Column::Id, Column::Action]);
    if let Some(before) = filter.before {
        rows = rows.filter(Column::Id.lt(before));
    }
    if let Some(quote_id) = filter.quote_id {
        rows = with_value(rows, backend, Column::QuoteId, quote_id);
        return Scan::of(rows.order_by_desc(Column::Id)).by_index("operator_action_of_quote");
    }
    rows = rows.order_by_desc(Column::Id);
    if backend == DbBackend::MySql {
        // MariaDB has no partial indexes: a page can end within a bulk.
        return Scan::of(rows).keeping(Condition::all().add(Expr::col(Column::Action).is_not_in([REVIVE, GIVE_UP])));
    }
    // Spelled out: a partial index is used only if its condition can be read.
    let of_a_bulk = [REVIVE, GIVE_UP].map(|action| Expr::cust(format!("'{action}'")));
    Scan::of(rows.filter(Expr::col((Entity, Column::Action)).is_not_in(of_a_bulk)))
}

/// Pauses and resumptions of `destinations` from `since` to `until`, oldest first, at most `limit`.
///
/// # Errors
/// Any database error.
pub async fn pauses(
    db: &impl ConnectionTrait,
    destinations: &[&str],
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<Action>, DbErr> {
    // Ids are in the order of time, give or take an hour for a wrong clock: with this bound the query does not read the whole log.
    let first = clock::first_id(since - TimeDelta::hours(1));
    Entity::find()
        .filter(Column::Id.gte(first))
        .filter(Column::Action.is_in([PAUSE, RESUME]))
        .filter(Column::Target.is_in(destinations.iter().copied()))
        .filter(Column::CreatedAt.between(since, until))
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db)
        .await
}

impl From<Action> for ActionView {
    fn from(row: Action) -> Self {
        let Action { id, actor, action, target, quote_id, reason, details, created_at } = row;
        Self { id, actor, action, target, quote_id, reason, details, created_at }
    }
}
