//! Reading events.

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

/// All events of an aggregate that were not pruned, in the order in which they were stored, destination by destination.
///
/// # Errors
/// Any database error.
pub async fn of_aggregate(db: &impl ConnectionTrait, aggregate_id: Uuid) -> Result<Vec<Event>, DbErr> {
    Entity::find()
        .filter(Column::AggregateId.eq(aggregate_id))
        .order_by_asc(Column::Destination)
        .order_by_asc(Column::Sequence)
        .all(db)
        .await
}
