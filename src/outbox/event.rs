//! Events as they are stored.

use entity::outbox_event::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

pub use entity::outbox_event::{Model as Event, Status as EventStatus};

/// The event `id`, unless it was pruned.
///
/// # Errors
/// Any database error.
pub async fn get(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<Event>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// All events of a quote that were not pruned, in the order in which they were stored.
///
/// # Errors
/// Any database error.
pub async fn of_quote(db: &impl ConnectionTrait, quote_id: Uuid) -> Result<Vec<Event>, DbErr> {
    Entity::find()
        .filter(Column::AggregateId.eq(quote_id))
        .order_by_asc(Column::Destination)
        .order_by_asc(Column::Sequence)
        .all(db)
        .await
}
