//! The outbox in numbers, which stay cheap however long its history is.
//!
//! Pending, leased and dead events are counted from partial indexes, up to [`UNSETTLED_COUNTED_MAX`] for each destination and
//! status, so a backlog of millions costs no more than that. Delivered and cancelled events are counted among the
//! [`SETTLED_COUNTED_MAX`] that settled last, read backwards from the index of retention.

use chrono::{DateTime, TimeDelta, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Asterisk, Expr, ExprTrait, Func, Query, SelectStatement},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::headline;
use crate::{
    database::Database,
    outbox::{DestinationState, EventStatus, destinations, settled_statuses, status_in},
    quotes::DESTINATIONS,
    telemetry::metrics,
};

const UNSETTLED: [EventStatus; 3] = [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead];

/// The most events that are counted for each destination and status, of those that are not settled or were delivered in the
/// last minute.
pub const UNSETTLED_COUNTED_MAX: u64 = 100_000;
/// The most delivered and cancelled events that are counted, the last ones first.
pub const SETTLED_COUNTED_MAX: u64 = 10_000;

/// The outbox in numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OutboxStats)]
pub struct Stats {
    /// What matters most, in one sentence.
    pub headline: String,
    /// By destination.
    pub destinations: Vec<DestinationStats>,
    /// `pending`, `leased` and `dead` are counted up to this many, each.
    pub unsettled_counted_max: u64,
    /// `delivered` and `cancelled` are counted among this many events that settled last.
    pub settled_counted_max: u64,
    /// When it was counted.
    pub at: DateTime<Utc>,
}

/// One destination in numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DestinationStats {
    /// Pause, circuit and wait that the fleet shares.
    #[serde(flatten)]
    pub state: DestinationState,
    /// How many events stand where.
    pub events: EventCounts,
    /// How long the oldest due event has been due; 0 if none is.
    pub oldest_due_seconds: f64,
    /// Deliveries of the last minute.
    pub delivered_last_minute: u64,
}

/// Events by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the statuses")]
pub struct EventCounts {
    pub pending: u64,
    pub leased: u64,
    pub delivered: u64,
    pub dead: u64,
    pub cancelled: u64,
}

/// Counts the events.
///
/// # Errors
/// Any database error.
pub async fn stats(db: &Database) -> Result<Stats, DbErr> {
    let connection = db.connection();
    let at = db.now(connection).await?;
    let mut stats: Vec<_> = destinations(connection).await?.into_iter().map(DestinationStats::of).collect();
    // Also destinations for which no worker has made a row yet.
    let names = known_names(stats.iter().map(|stats| &stats.state));
    // One statement for each destination and status: so each is bounded, and reads one index.
    for (name, status) in names.iter().flat_map(|name| UNSETTLED.map(|status| (name, status))) {
        let (count, oldest_due_at) = unsettled(connection, name, status).await?;
        if count == 0 {
            continue;
        }
        let stats = of(&mut stats, name);
        *stats.events.of(status) = unsigned(count);
        if let (EventStatus::Pending, Some(oldest_due_at)) = (status, oldest_due_at) {
            stats.oldest_due_seconds = (at - oldest_due_at).as_seconds_f64().max(0.0);
        }
    }
    for (destination, status, count) in settled_lately(connection).await? {
        *of(&mut stats, &destination).events.of(status) = unsigned(count);
    }
    for (destination, count) in delivered_since(connection, at - TimeDelta::minutes(1)).await? {
        of(&mut stats, &destination).delivered_last_minute = unsigned(count);
    }
    let (unsettled_counted_max, settled_counted_max) = (UNSETTLED_COUNTED_MAX, SETTLED_COUNTED_MAX);
    let headline = headline::of(&stats);
    Ok(Stats { headline, destinations: stats, unsettled_counted_max, settled_counted_max, at })
}

/// The names of all destinations, also of those that have no row yet.
pub(super) fn known_names<'a>(states: impl Iterator<Item = &'a DestinationState>) -> Vec<String> {
    let mut names: Vec<_> = states.map(|state| state.name.clone()).collect();
    names.extend(DESTINATIONS.map(ToString::to_string));
    names.sort_unstable();
    names.dedup();
    names
}

/// Counts the events, and sets the gauges.
///
/// # Errors
/// Any database error; then the gauges stay as they were.
pub async fn feed_gauges(db: &Database) -> Result<(), DbErr> {
    for destination in stats(db).await?.destinations {
        let name = destination.state.name;
        let EventCounts { pending, leased, delivered, dead, cancelled } = destination.events;
        let counts = [
            ("pending", pending),
            ("leased", leased),
            ("delivered", delivered),
            ("dead", dead),
            ("cancelled", cancelled),
        ];
        for (status, events) in counts {
            metrics::outbox_events(name.clone(), status, events);
        }
        metrics::outbox_oldest_due_seconds(name.clone(), destination.oldest_due_seconds);
        metrics::circuit_open(name, destination.state.circuit.is_some());
    }
    Ok(())
}

/// How many events of `destination` have this status, and the due time of the oldest.
async fn unsettled(
    db: &impl ConnectionTrait,
    destination: &str,
    status: EventStatus,
) -> Result<(i64, Option<DateTime<Utc>>), DbErr> {
    let row = db.query_one(&number_of_unsettled(destination, status, UNSETTLED_COUNTED_MAX)).await?;
    row.map_or(Ok((0, None)), |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)))
}

/// The query that counts what is not settled, up to `limit`, in the order of the index of that status.
/// Public so that tests can read its query plan.
#[must_use]
pub fn number_of_unsettled(destination: &str, status: EventStatus, limit: u64) -> SelectStatement {
    let order = match status {
        EventStatus::Pending => Column::DueAt,
        EventStatus::Leased => Column::LeasedUntil,
        _ => Column::Id,
    };
    let some = Entity::find()
        .select_only()
        .column(Column::DueAt)
        .filter(status_in(&[status]))
        .filter(Column::Destination.eq(destination))
        .order_by_asc(order)
        .limit(limit);
    Query::select()
        .expr(Func::count(Expr::col(Asterisk)))
        .expr(Func::min(Expr::col(Column::DueAt)))
        .from_subquery(some.into_query(), "some")
        .to_owned()
}

async fn settled_lately(db: &impl ConnectionTrait) -> Result<Vec<(String, EventStatus, i64)>, DbErr> {
    let mut counts = Vec::new();
    for query in numbers_of_settled(db.get_database_backend(), SETTLED_COUNTED_MAX) {
        for row in db.query_all(&query).await? {
            counts.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?));
        }
    }
    Ok(counts)
}

/// The queries that count what settled last.
/// Public so that tests can read their query plans.
#[must_use]
pub fn numbers_of_settled(backend: DbBackend, limit: u64) -> Vec<SelectStatement> {
    let query = |statuses: &&[EventStatus]| {
        let last = Entity::find()
            .select_only()
            .columns([Column::Destination, Column::Status])
            .filter(status_in(statuses))
            .order_by_desc(Column::SettledAt)
            .limit(limit)
            .into_query();
        Query::select()
            .columns([Column::Destination, Column::Status])
            .expr(Func::count(Expr::col(Asterisk)))
            .from_subquery(last, "lately")
            .group_by_columns([Column::Destination, Column::Status])
            .to_owned()
    };
    settled_statuses(backend).iter().map(query).collect()
}

pub(super) async fn delivered_since(
    db: &impl ConnectionTrait,
    since: DateTime<Utc>,
) -> Result<Vec<(String, i64)>, DbErr> {
    let query = numbers_of_delivered(db.get_database_backend(), since, UNSETTLED_COUNTED_MAX);
    let rows = db.query_all(&query).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// The query that counts what was delivered after `since`, up to `limit`.
/// Public so that tests can read its query plan.
#[must_use]
pub fn numbers_of_delivered(backend: DbBackend, since: DateTime<Utc>, limit: u64) -> SelectStatement {
    let last = Entity::find()
        .select_only()
        .columns([Column::Destination, Column::Status])
        .filter(match backend {
            DbBackend::MySql => status_in(&[EventStatus::Delivered]),
            // Both, as the index is over both.
            _ => status_in(&[EventStatus::Delivered, EventStatus::Cancelled]),
        })
        .filter(Column::SettledAt.gt(since))
        .order_by_desc(Column::SettledAt)
        .limit(limit)
        .into_query();
    Query::select()
        .column(Column::Destination)
        .expr(Func::count(Expr::col(Asterisk)))
        .from_subquery(last, "lately")
        .and_where(Expr::col(Column::Status).eq(EventStatus::Delivered))
        .group_by_col(Column::Destination)
        .to_owned()
}

fn of<'a>(stats: &'a mut Vec<DestinationStats>, name: &str) -> &'a mut DestinationStats {
    let index = stats.iter().position(|stats| stats.state.name == name).unwrap_or_else(|| {
        stats.push(DestinationStats::of(DestinationState::unknown(name)));
        stats.len() - 1
    });
    &mut stats[index]
}

fn unsigned(count: i64) -> u64 {
    count.try_into().unwrap_or(0)
}

impl DestinationStats {
    fn of(state: DestinationState) -> Self {
        Self { state, events: EventCounts::default(), oldest_due_seconds: 0.0, delivered_last_minute: 0 }
    }
}

impl EventCounts {
    fn of(&mut self, status: EventStatus) -> &mut u64 {
        match status {
            EventStatus::Pending => &mut self.pending,
            EventStatus::Leased => &mut self.leased,
            EventStatus::Delivered => &mut self.delivered,
            EventStatus::Dead => &mut self.dead,
            EventStatus::Cancelled => &mut self.cancelled,
        }
    }
}
