//! Lists of events.

use entity::outbox_event::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use crate::{
    database::{Listed, is_unreadable, listed, reading},
    outbox::{self, Event, EventStatus, status_in},
};

/// Which events a list shows.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only these.
    pub status: Option<EventStatus>,
    /// Only those for this destination.
    pub destination: Option<String>,
    /// Only these, for example `quote.submitted`.
    pub event_type: Option<String>,
    /// Only those of this quote.
    pub quote_id: Option<Uuid>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

/// Events, newest first by the database's clock, at most `limit`. One that cannot be read is named in its place.
///
/// # Errors
/// Any database error.
pub async fn list(db: &impl ConnectionTrait, filter: &EventFilter, limit: u64) -> Result<Vec<Listed<Event>>, DbErr> {
    let page = selected(filter, limit);
    match reading(page.clone().all(db)).await {
        Err(error) if is_unreadable(&error) => {}
        read => return Ok(read?.into_iter().map(Listed::Read).collect()),
    }
    let ids: Vec<Uuid> = page.select_only().column(Column::Id).into_tuple().all(db).await?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(listed(id, reading(outbox::get(db, id)).await)?);
    }
    Ok(found)
}

/// Ids begin with the time at which the event was stored, by the database's clock: their order is the order of time.
fn selected(filter: &EventFilter, limit: u64) -> Select<Entity> {
    let mut query = Entity::find().order_by_desc(Column::Id).limit(limit);
    if let Some(status) = filter.status {
        query = query.filter(status_in(&[status]));
    }
    if let Some(destination) = &filter.destination {
        query = query.filter(Column::Destination.eq(destination));
    }
    if let Some(event_type) = &filter.event_type {
        query = query.filter(Column::EventType.eq(event_type));
    }
    if let Some(quote_id) = filter.quote_id {
        query = query.filter(Column::AggregateId.eq(quote_id));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::Id.lt(before));
    }
    query
}
