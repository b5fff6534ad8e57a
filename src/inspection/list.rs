//! Lists of events.

use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ActiveEnum, ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::stats::known_names;
use crate::{
    database::{Listed, Page, Scan, padded, page, read_rows, with_value},
    outbox::{self, Event, EventStatus, destinations, status_in},
};

/// The most events whose errors a page searches along one index.
const SEARCHED_MAX: u64 = 1_000;

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
    /// Only those whose last error contains this text, in upper or lower case. Without a status these are the events that failed
    /// and are neither delivered nor cancelled.
    pub error_contains: Option<String>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

/// Events, newest first by the database's clock, at most `limit`. An unreadable event is listed by its id.
///
/// # Errors
/// Any database error.
pub async fn list(db: &impl ConnectionTrait, filter: &EventFilter, limit: u64) -> Result<Page<Listed<Event>>, DbErr> {
    let mut scans = scans(db, filter).await?;
    if filter.error_contains.is_some() {
        scans = scans.into_iter().map(|scan| scan.scanning(SEARCHED_MAX)).collect();
    }
    let Page { rows: ids, next } = page(db, &scans, limit).await?;
    let all = Entity::find().filter(Column::Id.is_in(padded(ids.clone()))).order_by_desc(Column::Id).all(db);
    let rows = read_rows(all, async { Ok(ids) }, |id| outbox::get(db, id)).await?;
    Ok(Page { rows, next })
}

/// The indexes that a list of events follows.
///
/// Ids begin with the time at which the event was stored, by the database's clock: their order is the order of time.
async fn scans(db: &impl ConnectionTrait, filter: &EventFilter) -> Result<Vec<Scan>, DbErr> {
    let backend = db.get_database_backend();
    if let Some(quote_id) = filter.quote_id {
        return Ok(vec![of_one_quote(backend, quote_id, filter)]);
    }
    let statuses: &[_] = match (filter.status, &filter.error_contains) {
        (Some(status), _) => &[status],
        (None, Some(_)) => &[EventStatus::Dead, EventStatus::Pending, EventStatus::Leased],
        (None, None) => return Ok(vec![newest(filter)]),
    };
    let names = match &filter.destination {
        Some(name) => vec![name.clone()],
        None => known_names(destinations(db).await?.iter()),
    };
    if filter.error_contains.is_some() && !matches!(statuses, [EventStatus::Delivered | EventStatus::Cancelled]) {
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
        let dead = statuses.contains(&EventStatus::Dead).then(|| with_status(backend, EventStatus::Dead, name, filter));
        let waiting = statuses.iter().any(|status| *status != EventStatus::Dead);
        dead.into_iter().chain(waiting.then(|| failing(name, filter))).collect()
    };
    names.iter().flat_map(of).collect()
}

/// The pending and leased events for one destination that have failed. Public so that databases can be asked for their plan.
#[must_use]
pub fn failing(destination: &str, filter: &EventFilter) -> Scan {
    // Spelled out as in the index, which holds just these.
    let waiting = [EventStatus::Pending, EventStatus::Leased];
    let rows = before(selected(filter).filter(status_in(&waiting)).filter(Column::LastError.is_not_null()), filter);
    let status = filter.status.map(|status| Expr::col(Column::Status).eq(status.to_value()));
    let rows = rows.filter(Column::Destination.between(destination, destination));
    let rows = rows.order_by_desc(Column::Destination).order_by_desc(Column::Id);
    Scan::of(rows).keeping(kept(filter).add_option(status))
}

/// The indexes over a status of `PostgreSQL` and `SQLite` hold rows in another order than that of ids. Public so that databases
/// can be asked for their plan. They are few unless there is a backlog.
#[must_use]
pub fn waiting(status: EventStatus, destination: &str, filter: &EventFilter) -> Scan {
    let order = if status == EventStatus::Leased { Column::LeasedUntil } else { Column::DueAt };
    let mut rows = selected(filter).filter(status_in(&[status])).filter(Column::Destination.eq(destination));
    if status == EventStatus::Pending {
        rows = rows.order_by_asc(Column::Destination);
    }
    let kept = kept(filter).add_option(filter.before.map(|before| Expr::col(Column::Id).lt(before)));
    // The condition makes this a scan with its own order: the index is not ordered by id.
    Scan::of(rows.order_by_asc(order)).keeping(kept.add(Expr::col(Column::Status).eq(status.to_value())))
}

/// The newest events of any status. Public so that tests can ask databases for their plans.
#[must_use]
pub fn newest(filter: &EventFilter) -> Scan {
    let rows = before(selected(filter), filter).order_by_desc(Column::Id);
    Scan::of(rows).keeping(kept_where_the_index_has_all(filter))
}

/// The events of one status for one destination, along an index that is ordered by id. Public so that databases can be
/// asked for their plan.
#[must_use]
pub fn with_status(backend: DbBackend, status: EventStatus, destination: &str, filter: &EventFilter) -> Scan {
    let rows = before(selected(filter).filter(status_in(&[status])), filter);
    let rows = with_value(rows, backend, Column::Destination, destination).order_by_desc(Column::Id);
    Scan::of(rows).by_index("outbox_event_dead").keeping(kept(filter))
}

/// A quote has a handful. Public so that tests can ask databases for their plans.
#[must_use]
pub fn of_one_quote(backend: DbBackend, quote_id: Uuid, filter: &EventFilter) -> Scan {
    let rows = with_value(selected(filter), backend, Column::AggregateId, quote_id)
        .order_by_desc(Column::Destination)
        .order_by_desc(Column::Sequence);
    let older = filter.before.map(|before| Expr::col(Column::Id).lt(before));
    let kept = kept_where_the_index_has_all(filter).add_option(older);
    // The condition makes this a scan with its own order: the index is not ordered by id.
    Scan::of(rows).by_index("outbox_event_order").keeping(kept.add(Expr::col(Column::AggregateId).eq(quote_id)))
}

fn selected(filter: &EventFilter) -> Select<Entity> {
    let columns = [Column::Id, Column::AggregateId, Column::Destination, Column::EventType, Column::Status];
    let error = filter.error_contains.as_ref().map(|_| Column::LastError);
    Entity::find().select_only().columns(columns).columns(error)
}

fn before(rows: Select<Entity>, filter: &EventFilter) -> Select<Entity> {
    match filter.before {
        Some(before) => rows.filter(Column::Id.lt(before)),
        None => rows,
    }
}

fn kept(filter: &EventFilter) -> Condition {
    Condition::all()
        .add_option(filter.event_type.as_ref().map(|event_type| Expr::col(Column::EventType).eq(event_type)))
        .add_option(filter.error_contains.as_ref().map(|text| outbox::error_contains(text)))
}

/// The same along an index over events of any status and destination.
fn kept_where_the_index_has_all(filter: &EventFilter) -> Condition {
    let status = filter.status.map(|status| Expr::col(Column::Status).eq(status.to_value()));
    let destination = filter.destination.as_ref().map(|name| Expr::col(Column::Destination).eq(name));
    kept(filter).add_option(status).add_option(destination)
}
