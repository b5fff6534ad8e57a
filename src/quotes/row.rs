//! The quote's row: storing it, and the statement that changes its status.

use chrono::{DateTime, Utc};
use entity::quote::ActiveModel;
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, UpdateMany};
use uuid::Uuid;

use super::{Quote, Status};
use crate::database::{self, DatabaseTransaction, found_status, padded};

pub(super) use entity::quote::{Column, Entity};

/// Rows a statement: below the 32,766 parameters that `SQLite` takes.
pub(super) const ROWS_MAX: usize = 1_000;

/// Stores `quotes`, in statements that every database takes.
///
/// # Errors
/// Any database error.
pub async fn insert(txn: &DatabaseTransaction, quotes: &[Quote]) -> Result<(), DbErr> {
    for some in database::runs(quotes.iter(), ROWS_MAX, txn.statement_bytes(), |quote| bytes(quote)) {
        let rows = some.into_iter().cloned().map(|quote| ActiveModel {
            id: Set(quote.id),
            customer_id: Set(quote.customer_id),
            currency: Set(quote.currency),
            amount_minor: Set(quote.amount_minor),
            lines: Set(quote.lines),
            destination: Set(quote.destination),
            status: Set(quote.status),
            status_reason: Set(quote.status_reason),
            submitted_at: Set(quote.submitted_at),
            updated_at: Set(quote.updated_at),
        });
        Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

/// About how many bytes `quote` takes in a statement: its lines, and a bound for everything else.
fn bytes(quote: &Quote) -> usize {
    600 + database::json_bytes(&quote.lines)
}

/// Changes the status of those of `ids` that are in one of the states `from`. For the transitions alone.
pub fn change(
    ids: impl IntoIterator<Item = Uuid>,
    from: &[Status],
    to: Status,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> UpdateMany<Entity> {
    let change = ActiveModel {
        status: Set(to),
        status_reason: Set(reason.map(str::to_owned)),
        updated_at: Set(now),
        ..Default::default()
    };
    let from = found_status((Entity, Column::Status), from.iter().copied());
    Entity::update_many().set(change).filter(Column::Id.is_in(padded(ids))).filter(from)
}
