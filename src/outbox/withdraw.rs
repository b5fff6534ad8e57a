//! Giving up events that have not been delivered: all of one aggregate, inside the transaction that cancels it, or one event
//! alone.

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity, Model, Status};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{DestinationName, parking::unpark};
use crate::database::DatabaseTransaction;

/// What was found when the events of an aggregate were withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// An attempt was made, is running, or may have been made: the destination may have acted on it. Also set when there is no
    /// event at all: then something other than the outbox sends, and what it did is not known here.
    pub may_have_reached: bool,
    /// The `sequence` of the next event of this aggregate for this destination.
    pub next_sequence: i32,
}

/// Withdraws the events of `aggregate_id` for `destination`. Those that are pending or dead become `cancelled`. A leased one is
/// left to its worker, and no attempt follows the running one: an event recorded at `next_sequence` is delivered after that
/// attempt has ended.
///
/// # Errors
/// Any database error.
pub async fn withdraw(
    txn: &DatabaseTransaction,
    aggregate_id: Uuid,
    destination: &DestinationName,
    now: DateTime<Utc>,
) -> Result<Withdrawn, DbErr> {
    let events = Entity::find()
        .filter(Column::AggregateId.eq(aggregate_id))
        .filter(Column::Destination.eq(destination.as_str()))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .all(txn)
        .await?;
    for event in &events {
        end(txn, event, now).await?;
    }
    Ok(Withdrawn {
        may_have_reached: events.is_empty() || events.iter().any(may_have_reached),
        next_sequence: events.iter().map(|event| event.sequence).max().unwrap_or(0) + 1,
    })
}

/// Gives up event `id` alone, as [`withdraw`] does. Returns the event as it was, locked. One that was delivered or cancelled
/// before stays as it is.
///
/// # Errors
/// Any database error.
pub async fn give_up(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<Option<Model>, DbErr> {
    let Some(event) = Entity::find_by_id(id).lock_exclusive().one(txn).await? else {
        return Ok(None);
    };
    end(txn, &event, now).await?;
    unpark(txn, &event.destination, [event.aggregate_id], now).await?;
    Ok(Some(event))
}

async fn end(txn: &DatabaseTransaction, event: &Model, now: DateTime<Utc>) -> Result<(), DbErr> {
    let change = match event.status {
        Status::Pending | Status::Dead => {
            ActiveModel { status: Set(Status::Cancelled), settled_at: Set(Some(now)), ..Default::default() }
        }
        Status::Leased => ActiveModel { withdrawn: Set(true), ..Default::default() },
        Status::Delivered | Status::Cancelled => return Ok(()),
    };
    Entity::update_many().set(change).filter(Column::Id.eq(event.id)).exec(txn).await.map(drop)
}

/// In doubt, yes: taking back what does not exist does no harm.
fn may_have_reached(event: &Model) -> bool {
    matches!(event.status, Status::Leased | Status::Delivered)
        || event.attempts > 0
        || event.outcome_unknown
        || event.failures.as_array().is_some_and(|failures| !failures.is_empty())
}
