//! Giving up what has not been delivered: of one quote's events, inside the transaction that cancels the quote, or one
//! event alone.

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity, Model, Status};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::DestinationName;
use crate::database::DatabaseTransaction;

/// What was found when a quote's events were withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Some attempt was made, is running, or may have been made: the destination may have acted on the quote. So it may
    /// when no event is stored: then something else than the outbox sends, and what it did is not known here.
    pub may_have_reached: bool,
    /// The place of the next event of this quote for this destination.
    pub next_sequence: i32,
}

/// Withdraws the events of `quote_id` for `destination`: those that wait or are dead become `cancelled`; a leased one
/// is left to its worker, and no attempt follows the running one. An event recorded at `next_sequence` is delivered
/// after that attempt has ended, by the order of the quote's events.
///
/// # Errors
/// What the database answers.
pub async fn withdraw(
    txn: &DatabaseTransaction,
    quote_id: Uuid,
    destination: &DestinationName,
    now: DateTime<Utc>,
) -> Result<Withdrawn, DbErr> {
    let events = Entity::find()
        .filter(Column::AggregateId.eq(quote_id))
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

/// Gives up event `id` alone, as [`withdraw`] does with each. Answers the event as it was, locked; a delivered or
/// cancelled one is left as it is.
///
/// # Errors
/// What the database answers.
pub async fn give_up(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<Option<Model>, DbErr> {
    let Some(event) = Entity::find_by_id(id).lock_exclusive().one(txn).await? else {
        return Ok(None);
    };
    end(txn, &event, now).await?;
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

/// Errs on the side of yes: voiding a fee that does not exist does no harm.
fn may_have_reached(event: &Model) -> bool {
    matches!(event.status, Status::Leased | Status::Delivered)
        || event.attempts > 0
        || event.outcome_unknown
        || event.failures.as_array().is_some_and(|failures| !failures.is_empty())
}
