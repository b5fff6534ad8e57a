//! Where an event stands in the queue of its destination.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Alias, Asterisk, Expr, Func, Query},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::stats::delivered_last_minute;
use crate::outbox::{Event, EventStatus, PARTNERS_MAX, Turn, partners, status_in};

/// The most events that are counted.
const COUNTED_MAX: u64 = 10_000;

/// What goes before an event that has been due for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QueuePlace)]
pub struct QueuePosition {
    /// Events of its partner for its destination that were due before it, counted up to 10,000.
    pub before: u64,
    /// Partners with something due, its own among them, counted up to 32. They take turns.
    pub partners: u64,
    /// Events that its destination got in the last minute, or at the rate of those that it got last.
    pub delivered_last_minute: u64,
}

/// The position of `event` at `now`. Few statements, none of which reads more than 10,000 events.
///
/// # Errors
/// Any database error.
pub(super) async fn position(
    db: &impl ConnectionTrait,
    event: &Event,
    now: DateTime<Utc>,
) -> Result<QueuePosition, DbErr> {
    let first = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Destination.eq(&event.destination))
        .filter(status_in(&[EventStatus::Pending]))
        .filter(Column::Partner.eq(&event.partner))
        .filter(Column::DueAt.lt(event.due_at))
        .limit(COUNTED_MAX)
        .into_query();
    let counted =
        Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(first, Alias::new("first")).to_owned();
    let before: i64 = match db.query_one(&counted).await? {
        Some(row) => row.try_get_by_index(0)?,
        None => 0,
    };
    let delivered_last_minute = delivered_last_minute(db, &event.destination, now).await?;
    let partners = partners(db, &event.destination, now, &Turn::default(), PARTNERS_MAX).await?.names.len();
    Ok(QueuePosition { before: before.try_into().unwrap_or(0), partners: partners as u64, delivered_last_minute })
}

impl QueuePosition {
    /// In words.
    pub(super) fn sentence(&self) -> String {
        let Self { before, partners, delivered_last_minute } = self;
        let or_more = if *before == COUNTED_MAX { " or more" } else { "" };
        let turns = match partners {
            0 | 1 => String::new(),
            partners => format!(" of its partner, one in each round of {partners} partners"),
        };
        format!(
            "{before}{or_more} events that were due earlier go first{turns}; {delivered_last_minute} were delivered in the \
             last minute."
        )
    }
}
