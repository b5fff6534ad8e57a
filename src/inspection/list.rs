//! Lists of events.

use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ActiveEnum, ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{EventFilter, stats::known_names};
use crate::{
    database::{Listed, Page, Scan, padded, page, read_rows, with_value},
    outbox::{self, Event, EventStatus, destinations, status_in},
    quotes,
};

/// The most events whose errors a page searches along one index.
const SEARCHED_MAX: u64 = 1_000;
/// The most events whose quotes are looked up, for their customer, along one index.
const LOOKED_UP_MAX: u64 = 4_000;
/// The most events that are counted.
pub const TOTAL_MAX: u64 = 10_000;
/// A customer's quotes whose events are looked up by their quotes. Of more than that a page finds some in whatever it reads.
const QUOTES_MAX: u64 = 256;
/// So many of them are looked up by one statement.
const QUOTES_A_SCAN: usize = 64;

/// How many events a filter selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// As many as were counted.
    pub events: u64,
    /// There are no more than these.
    pub is_complete: bool,
}

/// Events, newest first by the database's clock, at most `limit`. An unreadable event is listed by its id.
///
/// # Errors
/// Any database error.
pub async fn list(db: &impl ConnectionTrait, filter: &EventFilter, limit: u64) -> Result<Page<Listed<Event>>, DbErr> {
    let Page { rows: ids, next } = page(db, &scans(db, filter).await?, limit).await?;
    let all = Entity::find().filter(Column::Id.is_in(padded(ids.clone()))).order_by_desc(Column::Id).all(db);
    let rows = read_rows(all, async { Ok(ids) }, |id| outbox::get(db, id)).await?;
    Ok(Page { rows, next })
}

/// The ids of the events that [`list`] shows.
///
/// # Errors
/// Any database error.
pub async fn matching(db: &impl ConnectionTrait, filter: &EventFilter, limit: u64) -> Result<Page<Uuid>, DbErr> {
    page(db, &scans(db, filter).await?, limit).await
}

/// How many events `filter` selects, whatever page of them is shown.
///
/// # Errors
/// Any database error.
pub async fn total(db: &impl ConnectionTrait, filter: &EventFilter) -> Result<Total, DbErr> {
    let all = EventFilter { before: None, ..filter.clone() };
    let mut total = Total { events: 0, is_complete: true };
    for scan in scans(db, &all).await? {
        let (events, is_complete) = scan.count(db, TOTAL_MAX).await?;
        total.events = Ord::min(total.events + events, TOTAL_MAX);
        total.is_complete &= is_complete && total.events < TOTAL_MAX;
    }
    Ok(total)
}

/// The indexes that a list of events follows.
///
/// Ids begin with the time at which the event was stored, by the database's clock: their order is the order of time.
async fn scans(db: &impl ConnectionTrait, filter: &EventFilter) -> Result<Vec<Scan>, DbErr> {
    let scans = scans_in_full(db, filter).await?;
    let most = match filter {
        EventFilter { error_contains: Some(_), .. } => SEARCHED_MAX,
        EventFilter { customer_id: Some(_), .. } => LOOKED_UP_MAX,
        _ => return Ok(scans),
    };
    Ok(scans.into_iter().map(|scan| scan.scanning(most)).collect())
}

async fn scans_in_full(db: &impl ConnectionTrait, filter: &EventFilter) -> Result<Vec<Scan>, DbErr> {
    let backend = db.get_database_backend();
    if let Some(quote_id) = filter.quote_id {
        return Ok(vec![of_one_quote(backend, quote_id, filter)]);
    }
    if let Some(customer_id) = &filter.customer_id {
        let quotes = quotes::of_customer(db, customer_id, QUOTES_MAX + 1).await?;
        if quotes.len() as u64 <= QUOTES_MAX {
            let some = |quotes: &[Uuid]| of_quotes(quotes, filter);
            return Ok(quotes.chunks(QUOTES_A_SCAN).map(some).collect());
        }
    }
    let statuses: &[_] = match filter.status {
        Some(status) => &[status],
        None if filter.is_about_failures() => &[EventStatus::Dead, EventStatus::Pending, EventStatus::Leased],
        None => return Ok(vec![newest(filter)]),
    };
    let names = match &filter.destination {
        Some(name) => vec![name.clone()],
        None => known_names(destinations(db).await?.iter()),
    };
    let is_over = matches!(statuses, [EventStatus::Delivered | EventStatus::Cancelled]);
    if filter.is_about_failures() && !is_over {
        return Ok(failed(backend, statuses, &names, filter));
    }
    let status = statuses[0];
    if backend == DbBackend::MySql || matches!(status, EventStatus::Dead | EventStatus::Cancelled) {
        return Ok(names.iter().map(|name| with_status(backend, status, name, filter)).collect());
    }
    if status == EventStatus::Delivered {
        return Ok(vec![newest(filter)]);
    }
    let few: Vec<_> = names.iter().map(|name| waiting(status, name, filter)).collect();
    for scan in &few {
        if db.query_one(&scan.end()).await?.is_some() {
            return Ok(vec![newest(filter)]);
        }
    }
    Ok(few)
}

/// Events with one of these statuses that have failed.
fn failed(backend: DbBackend, statuses: &[EventStatus], names: &[String], filter: &EventFilter) -> Vec<Scan> {
    let of = |name: &String| -> Vec<Scan> {
        if backend == DbBackend::MySql {
            return statuses.iter().map(|status| with_status(backend, *status, name, filter)).collect();
        }
        if let Some(cause) = &filter.cause {
            return statuses.iter().map(|status| with_cause(*status, name, cause, filter)).collect();
        }
        let dead = statuses.contains(&EventStatus::Dead).then(|| with_status(backend, EventStatus::Dead, name, filter));
        let waiting = statuses.iter().any(|status| *status != EventStatus::Dead);
        dead.into_iter().chain(waiting.then(|| failing(name, filter))).collect()
    };
    names.iter().flat_map(of).collect()
}

/// The events of one status and cause for one destination, along an index that is ordered by id. Public so that databases can be
/// asked for their plan.
#[must_use]
pub fn with_cause(status: EventStatus, destination: &str, cause: &str, filter: &EventFilter) -> Scan {
    let rows = filter.bounded(filter.selected().filter(has_cause(status, destination)));
    let rows = rows.filter(Column::Cause.between(cause, cause)).order_by_desc(Column::Cause).order_by_desc(Column::Id);
    Scan::of(rows).keeping(EventFilter { cause: None, ..filter.clone() }.kept())
}

/// Events of this status for this destination that have failed, spelled out as in the index that holds them.
pub(super) fn has_cause(status: EventStatus, destination: &str) -> Condition {
    Condition::all()
        .add(status_in(&[EventStatus::Pending, EventStatus::Leased, EventStatus::Dead]))
        .add(Column::Cause.is_not_null())
        .add(status_in(&[status]))
        .add(Column::Destination.eq(destination))
}

/// The pending and leased events for one destination that have failed. Public so that databases can be asked for their plan.
#[must_use]
pub fn failing(destination: &str, filter: &EventFilter) -> Scan {
    // Spelled out as in the index, which holds just these.
    let waiting = [EventStatus::Pending, EventStatus::Leased];
    let rows = filter.selected().filter(status_in(&waiting)).filter(Column::LastError.is_not_null());
    let rows = filter.bounded(rows);
    let status = filter.status.map(|status| Expr::col(Column::Status).eq(status.to_value()));
    let rows = rows.filter(Column::Destination.between(destination, destination));
    let rows = rows.order_by_desc(Column::Destination).order_by_desc(Column::Id);
    Scan::of(rows).keeping(filter.kept().add_option(status))
}

/// The indexes over a status of `PostgreSQL` and `SQLite` hold rows in another order than that of ids. Public so that databases
/// can be asked for their plan. They are few unless there is a backlog.
#[must_use]
pub fn waiting(status: EventStatus, destination: &str, filter: &EventFilter) -> Scan {
    let order = if status == EventStatus::Leased { Column::LeasedUntil } else { Column::DueAt };
    let mut rows = filter.selected().filter(status_in(&[status])).filter(Column::Destination.eq(destination));
    if status == EventStatus::Pending {
        rows = rows.order_by_asc(Column::Destination);
    }
    let kept = filter.kept().add(filter.within_bounds());
    // The condition makes this a scan with its own order: the index is not ordered by id.
    Scan::of(rows.order_by_asc(order)).keeping(kept.add(Expr::col(Column::Status).eq(status.to_value())))
}

/// The newest events of any status. Public so that tests can ask databases for their plans.
#[must_use]
pub fn newest(filter: &EventFilter) -> Scan {
    let rows = filter.bounded(filter.selected()).order_by_desc(Column::Id);
    Scan::of(rows).keeping(filter.kept_where_the_index_has_all())
}

/// The events of one status for one destination, along an index that is ordered by id. Public so that databases can be
/// asked for their plan.
#[must_use]
pub fn with_status(backend: DbBackend, status: EventStatus, destination: &str, filter: &EventFilter) -> Scan {
    let rows = filter.bounded(filter.selected().filter(status_in(&[status])));
    let rows = with_value(rows, backend, Column::Destination, destination).order_by_desc(Column::Id);
    Scan::of(rows).by_index("outbox_event_dead").keeping(filter.kept())
}

/// A quote has a handful. Public so that tests can ask databases for their plans.
#[must_use]
pub fn of_one_quote(backend: DbBackend, quote_id: Uuid, filter: &EventFilter) -> Scan {
    let rows = with_value(filter.selected(), backend, Column::AggregateId, quote_id)
        .order_by_desc(Column::Destination)
        .order_by_desc(Column::Sequence);
    let kept = filter.kept_where_the_index_has_all().add(filter.within_bounds());
    // The condition makes this a scan with its own order: the index is not ordered by id.
    Scan::of(rows).by_index("outbox_event_order").keeping(kept.add(Expr::col(Column::AggregateId).eq(quote_id)))
}

/// The events of some quotes, which have a handful each. Public so that tests can ask databases for their plans.
#[must_use]
pub fn of_quotes(quotes: &[Uuid], filter: &EventFilter) -> Scan {
    let rows = filter.selected().filter(Column::AggregateId.is_in(padded(quotes.iter().copied())));
    let kept = EventFilter { customer_id: None, ..filter.clone() }.kept_where_the_index_has_all();
    // The condition makes this a scan with its own order: the index is not ordered by id.
    let kept = kept.add(filter.within_bounds()).add(Expr::col(Column::AggregateId).is_not_null());
    Scan::of(rows).by_index("outbox_event_order").keeping(kept)
}
