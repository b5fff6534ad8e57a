//! The quote's row: storing it, and the statement that changes its status.

use chrono::{DateTime, Utc};
use entity::quote::ActiveModel;
use sea_orm::{ActiveEnum, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, UpdateMany};
use uuid::Uuid;

use super::{Quote, Status};
use crate::database::{
    DatabaseTransaction, found_status,
    insert_each::{IfTaken, InsertEach},
    padded,
    update_each::{Cell, Column as Cells, Type},
};

pub(super) use entity::quote::{Column, Entity};

const QUOTES: InsertEach = InsertEach {
    table: "quote",
    columns: &[
        Cells("id", Type::Uuid),
        Cells("customer_id", Type::Text),
        Cells("currency", Type::Text),
        Cells("amount_minor", Type::BigInteger),
        Cells("lines", Type::Json),
        Cells("destination", Type::Text),
        Cells("submitted_by", Type::Text),
        Cells("status", Type::Text),
        Cells("submitted_at", Type::Time),
        Cells("updated_at", Type::Time),
    ],
    also: &[],
    if_taken: IfTaken::Fail,
};

/// Stores new `quotes`, in statements that every database takes.
///
/// # Errors
/// Any database error.
pub async fn insert(txn: &DatabaseTransaction, quotes: impl Iterator<Item = &Quote>) -> Result<(), DbErr> {
    let rows = quotes.map(|quote| {
        vec![
            Cell::Uuid(quote.id),
            Cell::Text(quote.customer_id.clone()),
            Cell::Text(quote.currency.clone()),
            Cell::BigInteger(quote.amount_minor),
            Cell::Json(quote.lines.clone()),
            Cell::Text(quote.destination.clone()),
            quote.submitted_by.clone().map_or(Cell::Keep, Cell::Text),
            Cell::Text(quote.status.to_value()),
            Cell::Time(quote.submitted_at),
            Cell::Time(quote.updated_at),
        ]
    });
    QUOTES.run(txn, rows).await.map(drop)
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
