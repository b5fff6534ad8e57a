//! Reading quotes, each with its fee record and the event that hands it over.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    fee_record, outbox_event,
    quote::{Column, Entity},
};
use sea_orm::{
    ActiveEnum, ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use uuid::Uuid;

use super::{QUOTE_SUBMITTED, Quote, QuoteDestination, Status};
use crate::{
    clock,
    database::{Listed, Page, Scan, page, read_rows, with_value},
};

/// A quote with its fee and its event.
#[derive(Clone, Debug)]
pub struct QuoteWithFee {
    /// The quote.
    pub quote: Quote,
    /// Its fee record, once there is one.
    pub fee: Option<fee_record::Model>,
    /// The event that hands it over, until it is pruned.
    pub event: Option<outbox_event::Model>,
}

/// Which quotes a list shows.
#[derive(Clone, Debug, Default)]
pub struct QuoteFilter {
    /// Only these.
    pub status: Option<Status>,
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only those that this token submitted.
    pub submitted_by: Option<String>,
    /// Only those whose ids are in this range.
    pub ids: Option<(Uuid, Uuid)>,
    /// Only those submitted after this time.
    pub submitted_after: Option<DateTime<Utc>>,
    /// Only those submitted before this time.
    pub submitted_before: Option<DateTime<Utc>>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

impl QuoteFilter {
    /// What no index tells, as a condition on selected columns.
    fn kept(&self) -> Condition {
        let submitted_at = || Expr::col(Column::SubmittedAt);
        Condition::all()
            .add_option(self.ids.map(|(first, last)| Expr::col(Column::Id).between(first, last)))
            .add_option(self.submitted_after.map(|time| submitted_at().gt(time)))
            .add_option(self.submitted_before.map(|time| submitted_at().lt(time)))
    }

    /// `rows` whose ids are in the range, and begin with a time in question.
    fn bounded(&self, mut rows: Select<Entity>) -> Select<Entity> {
        if let Some((first, last)) = self.ids {
            rows = rows.filter(Column::Id.gte(first)).filter(Column::Id.lte(last));
        }
        if let Some(after) = self.submitted_after {
            rows = rows.filter(Column::Id.gte(clock::first_id(after)));
        }
        if let Some(before) = self.submitted_before {
            // Ids have milliseconds.
            rows = rows.filter(Column::Id.lt(clock::first_id(before + TimeDelta::milliseconds(1))));
        }
        rows
    }

    /// `rows` in the order of submission within the times in question.
    fn timed(&self, mut rows: Select<Entity>) -> Select<Entity> {
        if let Some(after) = self.submitted_after {
            rows = rows.filter(Column::SubmittedAt.gt(after));
        }
        if let Some(before) = self.submitted_before {
            rows = rows.filter(Column::SubmittedAt.lt(before));
        }
        rows
    }
}

/// The newest quotes of a customer, at most `limit`.
///
/// # Errors
/// Any database error.
pub async fn of_customer(db: &impl ConnectionTrait, customer_id: &str, limit: u64) -> Result<Vec<Uuid>, DbErr> {
    let filter = QuoteFilter { customer_id: Some(customer_id.to_owned()), ..QuoteFilter::default() };
    Ok(page(db, &[scan(db.get_database_backend(), &filter)], limit).await?.rows)
}

/// The destination that has to accept quote `id` before it is confirmed, if there is such a quote, and `owner` submitted it if
/// that is asked for. It never changes.
///
/// # Errors
/// Any database error; a destination that no quote has.
pub async fn destination(
    db: &impl ConnectionTrait,
    id: Uuid,
    owner: Option<&str>,
) -> Result<Option<QuoteDestination>, DbErr> {
    let found: Option<String> = of(id, owner).select_only().column(Column::Destination).into_tuple().one(db).await?;
    let known = |name: String| {
        QuoteDestination::of(&name)
            .ok_or_else(|| DbErr::Type(format!("quote {id} has the unknown destination {name:?}")))
    };
    found.map(known).transpose()
}

/// The quote `id`, if there is one that `owner` submitted.
///
/// # Errors
/// Any database error.
pub async fn get_of(db: &impl ConnectionTrait, id: Uuid, owner: Option<&str>) -> Result<Option<QuoteWithFee>, DbErr> {
    let found = get(db, id).await?;
    Ok(found.filter(|found| owner.is_none_or(|owner| found.quote.submitted_by.as_deref() == Some(owner))))
}

/// The quote `id`, if there is one.
///
/// # Errors
/// Any database error.
pub async fn get(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<QuoteWithFee>, DbErr> {
    let Some(quote) = Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    let mut found = with_fees(db, vec![quote]).await?;
    Ok(found.pop())
}

/// Quotes, newest first by the database's clock, at most `limit`. An unreadable quote is listed by its id.
///
/// # Errors
/// Any database error.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: &QuoteFilter,
    limit: u64,
) -> Result<Page<Listed<QuoteWithFee>>, DbErr> {
    let Page { rows: ids, next } = page(db, &[scan(db.get_database_backend(), filter)], limit).await?;
    let rows = read_rows(by_ids(db, &ids), async { Ok(ids.clone()) }, |id| get(db, id)).await?;
    Ok(Page { rows, next })
}

/// The index that a list of quotes follows. Public so that tests can ask databases for their plans.
///
/// Ids begin with the time of submission, by the database's clock: their order is the order of time.
#[must_use]
pub fn scan(backend: DbBackend, filter: &QuoteFilter) -> Scan {
    let rows =
        Entity::find().select_only().columns([Column::Id, Column::Status, Column::CustomerId, Column::SubmittedBy]);
    let with_status = |status: Status| Expr::col(Column::Status).eq(status.to_value());
    let of = |customer_id: &str| Expr::col(Column::CustomerId).eq(customer_id);
    let by = |name: &str| Expr::col(Column::SubmittedBy).eq(name);
    let (status, customer_id, submitted_by) =
        (filter.status, filter.customer_id.as_deref(), filter.submitted_by.as_deref());
    // The confirmed ones are nearly all quotes, and most of those are of other submitters.
    let has_index =
        |status: &Status| *status != Status::Confirmed || (backend == DbBackend::MySql && submitted_by.is_none());
    if let Some(status) = status.filter(has_index) {
        let mut rows = rows
            .column(Column::SubmittedAt)
            // Spelled out: a partial index is used only if its condition can be read.
            .filter(Expr::col((Entity, Column::Status)).eq(Expr::cust(format!("'{}'", status.to_value()))))
            .order_by_desc(Column::SubmittedAt)
            .order_by_desc(Column::Id);
        if let Some(before) = filter.before {
            let at = Query::select().column(Column::SubmittedAt).from(Entity).and_where(Column::Id.eq(before)).take();
            rows = rows.filter(older(&at, before));
        }
        let rows = filter.timed(rows);
        let ids = QuoteFilter { submitted_after: None, submitted_before: None, ..filter.clone() };
        let kept = ids.kept().add_option(customer_id.map(of)).add_option(submitted_by.map(by));
        return Scan::of(rows).by_index("quote_pending").keeping(kept).ordered_by(&["submitted_at", "id"]);
    }
    let mut rows = match (customer_id, submitted_by) {
        (Some(id), _) => with_value(rows, backend, Column::CustomerId, id),
        (None, Some(name)) => with_value(rows, backend, Column::SubmittedBy, name),
        (None, None) => rows,
    };
    if let Some(before) = filter.before {
        rows = rows.filter(Column::Id.lt(before));
    }
    let timed = filter.submitted_after.or(filter.submitted_before).map(|_| Column::SubmittedAt);
    let rows = filter.bounded(rows).columns(timed);
    let others = customer_id.and(submitted_by).map(by);
    let kept = QuoteFilter { ids: None, ..filter.clone() }.kept();
    let kept = kept.add_option(status.map(with_status)).add_option(others);
    let scan = Scan::of(rows.order_by_desc(Column::Id)).keeping(kept);
    match (customer_id, submitted_by) {
        (Some(_), _) => scan.by_index("quote_customer"),
        (None, Some(_)) => scan.by_index("quote_submitter"),
        (None, None) => scan,
    }
}

/// Submitted before `at`, or at `at` with a smaller id than `before`.
fn older(at: &SelectStatement, before: Uuid) -> Condition {
    let submitted_at = || Expr::col((Entity, Column::SubmittedAt));
    let at = || Expr::SubQuery(None, Box::new(at.clone().into()));
    let then = Condition::any().add(submitted_at().lt(at())).add(Column::Id.lt(before));
    Condition::all().add(submitted_at().lte(at())).add(then)
}

/// The status of quote `id`, if there is one that `owner` submitted, or anybody if none is given. Cheaper than reading the quote.
///
/// # Errors
/// Any database error.
pub async fn status(db: &impl ConnectionTrait, id: Uuid, owner: Option<&str>) -> Result<Option<Status>, DbErr> {
    of(id, owner).select_only().column(Column::Status).into_tuple().one(db).await
}

fn of(id: Uuid, owner: Option<&str>) -> Select<Entity> {
    let found = Entity::find_by_id(id);
    match owner {
        Some(owner) => found.filter(Column::SubmittedBy.eq(owner)),
        None => found,
    }
}

/// The quotes `ids`, in this order.
///
/// # Errors
/// Any database error.
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
        let found = handovers(destination, theirs).all(db).await?;
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
pub fn handovers(destination: &str, ids: impl IntoIterator<Item = Uuid>) -> Select<outbox_event::Entity> {
    use outbox_event::Column as Event;
    outbox_event::Entity::find()
        .filter(Event::AggregateId.is_in(ids))
        .filter(Event::Destination.eq(destination))
        .filter(Event::Sequence.eq(1))
        .filter(Event::EventType.eq(QUOTE_SUBMITTED.as_str()))
}
