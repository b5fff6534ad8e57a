//! Rows with times in the future: the clock of a process or of the database ran ahead when they were stored.

use chrono::{DateTime, Utc};
use entity::{
    destination,
    outbox_event::{Column as EventColumn, Entity as Event},
    quote::{Column as QuoteColumn, Entity as Quote},
    schedule,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use uuid::Uuid;

use super::Violation;
use crate::clock::{LEASE_MAX, SKEW_MAX, WAIT_MAX, after, first_id, is_beyond};

/// The name of the check for events that wait for such a time.
pub(super) const CHECK: &str = "far_future";

/// The most rows of a kind that are named.
const NAMED_MAX: u64 = 20;

/// Rows with times in the future.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FutureTimes {
    /// How many rows there are.
    pub rows: u64,
    /// Some of them, a sentence each.
    pub named: Vec<String>,
}

/// Finds them. Ids begin with the time, so the primary keys find the quotes and events.
pub(super) async fn find(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<FutureTimes, DbErr> {
    let mut ahead = FutureTimes::default();
    let limit = after(now, SKEW_MAX);
    let quotes = Quote::find().filter(QuoteColumn::Id.gt(first_id(limit))).filter(QuoteColumn::SubmittedAt.gt(limit));
    ahead.rows += quotes.clone().count(db).await?;
    let named = quotes.order_by_desc(QuoteColumn::Id).limit(NAMED_MAX).select_only();
    let named = named.columns([QuoteColumn::Id, QuoteColumn::SubmittedAt]);
    for (id, at) in named.into_tuple::<(Uuid, DateTime<Utc>)>().all(db).await? {
        ahead.named.push(format!("quote {id} was submitted at {at}, which lies ahead"));
    }
    let events = Event::find().filter(EventColumn::Id.gt(first_id(limit))).filter(EventColumn::CreatedAt.gt(limit));
    ahead.rows += events.clone().count(db).await?;
    let named = events.order_by_desc(EventColumn::Id).limit(NAMED_MAX).select_only();
    let named = named.columns([EventColumn::Id, EventColumn::AggregateId, EventColumn::CreatedAt]);
    for (id, quote_id, at) in named.into_tuple::<(Uuid, Uuid, DateTime<Utc>)>().all(db).await? {
        ahead.named.push(format!("event {id} of quote {quote_id} was stored at {at}, which lies ahead"));
    }
    for row in schedule::Entity::find().filter(schedule::Column::LastTickAt.gt(limit)).all(db).await? {
        ahead.note(format!("{} ran at {}, which lies ahead: it runs at its next tick", row.name, row.last_tick_at));
    }
    for row in destination::Entity::find().all(db).await? {
        if let Some(until) = row.not_before.filter(|until| is_beyond(now, *until, WAIT_MAX)) {
            ahead.note(format!("{} is held back until {until}, longer than any wait may last", row.name));
        }
        if let Some(at) = row.probe_at.filter(|at| is_beyond(now, *at, LEASE_MAX)) {
            ahead.note(format!("{} is probed at {at}, later than any setting permits", row.name));
        }
    }
    Ok(ahead)
}

impl FutureTimes {
    fn note(&mut self, sentence: String) {
        self.rows += 1;
        self.named.push(sentence);
    }
}

/// The event of this quote waits for a time that no setting permits.
pub(super) fn delayed(event: Uuid, quote_id: Uuid) -> Violation {
    let sentence = format!(
        "event {event} of quote {quote_id} waits, or is leased, for longer than any setting permits: a clock ran ahead, and \
         no worker has repaired it yet"
    );
    Violation { promise: 10, check: CHECK, quote_id, sentence }
}
