//! The quote's row: how its status moves, and how it is read.
//!
//! Invariant: a status moves by compare and set only, so that of two who want to move it, one does.

mod names;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{
    fee_record, outbox_event,
    quote::{ActiveModel, Column, Entity},
};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, UpdateMany,
};
use uuid::Uuid;

use crate::{
    database::{
        self, DatabaseTransaction, Listed, found_status, is_unreadable, listed, padded, reading,
        update_each::{Cell, Column as UpdateColumn, Type, UpdateEach},
    },
    printable::printable,
    settings::QuoteDestination,
};

pub use entity::quote::{Model as Quote, Status};
pub use names::{
    DESTINATIONS, FEE_CREATED, FEE_SERVER, KAFKA, QUOTE, QUOTE_CANCELLED, QUOTE_REJECTED, QUOTE_SUBMITTED, QuoteEvent,
};

/// How much of a reason is kept, in characters.
const REASON_LENGTH_MAX: usize = 2_000;

/// Rows a statement: below the 32,766 parameters that `SQLite` takes.
const ROWS_MAX: usize = 1_000;

/// A quote with what has become of it.
#[derive(Clone, Debug)]
pub struct QuoteWithFee {
    /// The quote.
    pub quote: Quote,
    /// Its fee record, once there is one.
    pub fee: Option<fee_record::Model>,
    /// The event that hands it to its destination, until it is pruned.
    pub event: Option<outbox_event::Model>,
}

/// Which quotes a list shows.
#[derive(Clone, Debug, Default)]
pub struct QuoteFilter {
    /// Only these.
    pub status: Option<Status>,
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

/// Stores `quotes`, in statements that every database takes.
///
/// # Errors
/// What the database answers.
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

/// About how many bytes `quote` takes in a statement: what is bounded besides its lines, and those.
fn bytes(quote: &Quote) -> usize {
    600 + database::json_bytes(&quote.lines)
}

/// Moves those of `ids` that stand in one of `from` to `to`; returns how many moved.
///
/// # Errors
/// What the database answers.
pub async fn advance(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = Uuid>,
    from: &[Status],
    to: Status,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<u64, DbErr> {
    let moved = change(ids, from, to, reason, now).exec(db).await?;
    Ok(moved.rows_affected)
}

/// The same with those alone whose fate hangs on `destination`: for whoever has an event in hand that may be news to it,
/// and nothing more.
///
/// # Errors
/// What the database answers.
pub async fn advance_those_for(
    db: &impl ConnectionTrait,
    destination: &str,
    ids: impl IntoIterator<Item = Uuid>,
    from: Status,
    to: Status,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<u64, DbErr> {
    let those = change(ids, &[from], to, reason, now).filter(Column::Destination.eq(destination));
    Ok(those.exec(db).await?.rows_affected)
}

/// Rejects those of `refused` that are pending, each for its reason; only those whose fate hangs on `destination`, if one is
/// given. Returns which were rejected. The statements are the same for one and for a thousand.
///
/// # Errors
/// Any database error.
pub async fn reject<'a>(
    txn: &DatabaseTransaction,
    destination: Option<&str>,
    refused: impl IntoIterator<Item = (Uuid, &'a str)>,
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, DbErr> {
    let reasons: HashMap<_, _> = refused.into_iter().collect();
    if reasons.is_empty() {
        return Ok(HashSet::new());
    }
    // Locked first: not every database tells which rows an update has changed.
    let mut pending = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.is_in(padded(reasons.keys().copied())))
        .filter(found_status((Entity, Column::Status), [Status::Pending]))
        .order_by_asc(Column::Id)
        .lock_exclusive();
    if let Some(destination) = destination {
        pending = pending.filter(Column::Destination.eq(destination));
    }
    let pending: HashSet<Uuid> = pending.into_tuple().all(txn).await?.into_iter().collect();
    let update = UpdateEach {
        table: "quote",
        to_all: &[("status", Status::Rejected.to_value().into()), ("updated_at", now.into())],
        by_row: &[UpdateColumn("status_reason", Type::Text)],
    };
    let reason = |id| reasons.get(id).map_or(Cell::Keep, |why| Cell::Text(printable(why, REASON_LENGTH_MAX)));
    update.run(txn, pending.iter().map(|id| (*id, vec![reason(id)])).collect()).await?;
    Ok(pending)
}

/// What moves quotes. Public so that databases can be asked for their plan.
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

/// Which destination decides quote `id`, if there is such a quote. That never changes.
///
/// # Errors
/// Any database error; a destination that no quote has.
pub async fn destination(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<QuoteDestination>, DbErr> {
    let found: Option<String> =
        Entity::find_by_id(id).select_only().column(Column::Destination).into_tuple().one(db).await?;
    let known = |name: String| {
        QuoteDestination::of(&name)
            .ok_or_else(|| DbErr::Type(format!("quote {id} has the unknown destination {name:?}")))
    };
    found.map(known).transpose()
}

/// The quote `id`, if there is one.
///
/// # Errors
/// What the database answers.
pub async fn get(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<QuoteWithFee>, DbErr> {
    let Some(quote) = Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    let mut found = with_fees(db, vec![quote]).await?;
    Ok(found.pop())
}

/// Quotes, newest first by the database's clock, at most `limit`. One that cannot be read is named in its place.
///
/// # Errors
/// Any database error.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: &QuoteFilter,
    limit: u64,
) -> Result<Vec<Listed<QuoteWithFee>>, DbErr> {
    let page = selected(filter, limit);
    let read = async { with_fees(db, page.clone().all(db).await?).await };
    match reading(read).await {
        Err(error) if is_unreadable(&error) => {}
        read => return Ok(read?.into_iter().map(Listed::Read).collect()),
    }
    let ids: Vec<Uuid> = page.select_only().column(Column::Id).into_tuple().all(db).await?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(listed(id, reading(get(db, id)).await)?);
    }
    Ok(found)
}

/// Ids begin with the time of submission, by the database's clock: their order is the order of time.
fn selected(filter: &QuoteFilter, limit: u64) -> Select<Entity> {
    let mut query = Entity::find().order_by_desc(Column::Id).limit(limit);
    if let Some(status) = filter.status {
        query = query.filter(Column::Status.eq(status));
    }
    if let Some(customer_id) = &filter.customer_id {
        query = query.filter(Column::CustomerId.eq(customer_id));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::Id.lt(before));
    }
    query
}

/// The status of quote `id`, if there is one: the cheapest look at whether it is still pending.
///
/// # Errors
/// What the database answers.
pub async fn status(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<Status>, DbErr> {
    Entity::find_by_id(id).select_only().column(Column::Status).into_tuple().one(db).await
}

/// Quotes `ids` in this order.
///
/// # Errors
/// What the database answers.
pub async fn by_ids(db: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Vec<QuoteWithFee>, DbErr> {
    let quotes = Entity::find().filter(Column::Id.is_in(ids.iter().copied())).all(db).await?;
    let mut quotes = with_fees(db, quotes).await?;
    quotes.sort_by_key(|found| ids.iter().position(|id| *id == found.quote.id));
    Ok(quotes)
}

async fn with_fees(db: &impl ConnectionTrait, quotes: Vec<Quote>) -> Result<Vec<QuoteWithFee>, DbErr> {
    use fee_record::Column as Fee;
    let ids: Vec<_> = quotes.iter().map(|quote| quote.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let fees = fee_record::Entity::find().filter(Fee::QuoteId.is_in(ids.iter().copied())).all(db).await?;
    let mut fees: HashMap<_, _> = fees.into_iter().map(|fee| (fee.quote_id, fee)).collect();
    let mut destinations: Vec<_> = quotes.iter().map(|quote| quote.destination.as_str()).collect();
    destinations.sort_unstable();
    destinations.dedup();
    let mut events = HashMap::new();
    for destination in destinations {
        let theirs = quotes.iter().filter(|quote| quote.destination == destination).map(|quote| quote.id);
        let found = hand_overs(destination, theirs).all(db).await?;
        events.extend(found.into_iter().map(|event| (event.aggregate_id, event)));
    }
    let found = quotes.into_iter().map(|quote| QuoteWithFee {
        fee: fees.remove(&quote.id),
        event: events.remove(&quote.id),
        quote,
    });
    Ok(found.collect())
}

/// The events that hand quotes `ids` to `destination`, found by the whole key of order: by a part of it `MariaDB` reads the
/// whole table instead, once there are some hundred ids and its statistics are old. Public so that databases can be asked for
/// their plan.
pub fn hand_overs(destination: &str, ids: impl IntoIterator<Item = Uuid>) -> Select<outbox_event::Entity> {
    use outbox_event::Column as Event;
    outbox_event::Entity::find()
        .filter(Event::AggregateId.is_in(ids))
        .filter(Event::Destination.eq(destination))
        .filter(Event::Sequence.eq(1))
        .filter(Event::EventType.eq(QUOTE_SUBMITTED.as_str()))
}
