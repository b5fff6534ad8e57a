//! The outbox in numbers, which stay cheap however long its history is.
//!
//! Pending, leased and dead events are counted from partial indexes, up to [`UNSETTLED_COUNTED_MAX`] for each destination and
//! status, so a backlog of millions costs no more than that. Delivered and cancelled events are counted among the
//! [`SETTLED_COUNTED_MAX`] that settled last, read backwards from the index of retention. A count at its bound means "or more".

use chrono::{DateTime, TimeDelta, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select,
    sea_query::{Asterisk, CaseStatement, Expr, ExprTrait, Func, Query, SelectStatement},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::headline;
use crate::{
    audit::{self, LastAudit},
    database::Database,
    fleet,
    outbox::{DestinationState, EventStatus, FleetLimits, destinations, settled_statuses, status_in},
    quotes::{DESTINATIONS, is_lane},
    telemetry::{gauges, metrics},
};

const UNSETTLED: [EventStatus; 3] = [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead];

/// The most events that are counted for each destination and status, of those that are not settled.
pub const UNSETTLED_COUNTED_MAX: u64 = 10_000;
/// The most delivered and cancelled events that are counted, the last ones first. They also tell how many were delivered in the
/// last minute, or, where more than these settled in it, at which rate.
pub const SETTLED_COUNTED_MAX: u64 = 2_000;

/// The outbox in numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OutboxStats)]
pub struct Stats {
    /// What matters most, in one sentence.
    pub headline: String,
    /// How many processes that deliver were seen in the last minute.
    pub workers_alive: u64,
    /// The last audit of the fleet that ended, if there was one.
    pub last_audit: Option<LastAudit>,
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
    /// Deliveries of the last minute. Where more than `settled_counted_max` events settled in it, the rate of those that settled
    /// last.
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
        let count = unsettled(connection, name, status).await?;
        if count == 0 {
            continue;
        }
        let stats = of(&mut stats, name);
        *stats.events.of(status) = unsigned(count);
        if status == EventStatus::Pending {
            let oldest_due_at = oldest_due(name).into_tuple::<DateTime<Utc>>().one(connection).await?;
            stats.oldest_due_seconds = oldest_due_at.map_or(0.0, |due_at| (at - due_at).as_seconds_f64().max(0.0));
        }
    }
    for lately in settled_lately(connection, at).await? {
        let stats = of(&mut stats, &lately.destination);
        *stats.events.of(lately.status) = unsigned(lately.events);
        if lately.status == EventStatus::Delivered {
            stats.delivered_last_minute = lately.in_a_minute(at);
        }
    }
    let (unsettled_counted_max, settled_counted_max) = (UNSETTLED_COUNTED_MAX, SETTLED_COUNTED_MAX);
    let workers_alive = fleet::workers_alive(connection, at).await?;
    let last_audit = audit::last_audit(connection).await?;
    let headline = headline::of(&stats, workers_alive);
    Ok(Stats {
        headline,
        workers_alive,
        last_audit,
        destinations: stats,
        unsettled_counted_max,
        settled_counted_max,
        at,
    })
}

/// The names of all destinations that have events, also of those that have no row yet.
pub(super) fn known_names<'a>(states: impl Iterator<Item = &'a DestinationState>) -> Vec<String> {
    let mut names: Vec<_> = states.map(|state| state.name.clone()).filter(|name| !is_lane(name)).collect();
    names.extend(DESTINATIONS.map(ToString::to_string));
    names.sort_unstable();
    names.dedup();
    names
}

/// Counts the events, and sets the gauges.
///
/// # Errors
/// Any database error; then the gauges stay as they were, and their age grows.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this millennium fit")]
pub async fn feed_gauges(db: &Database) -> Result<(), DbErr> {
    let Stats { destinations, workers_alive, last_audit, at, .. } = stats(db).await?;
    gauges::workers_alive(workers_alive);
    if let Some(audit) = last_audit {
        gauges::last_audit(audit.at.timestamp_millis() as f64 / 1e3);
    }
    for destination in destinations {
        metrics::circuit_open(destination.state.name.clone(), destination.state.circuit.is_some());
        if is_lane(&destination.state.name) {
            continue;
        }
        let held = destination.state.not_before.is_some_and(|until| until > at);
        gauges::destination_held(destination.state.name.clone(), destination.state.paused.is_some(), held);
        let FleetLimits { per_second, in_flight } = destination.state.limits;
        let name = destination.state.name;
        gauges::destination_limits(name.clone(), per_second, in_flight);
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
        metrics::outbox_oldest_due_seconds(name, destination.oldest_due_seconds);
    }
    gauges::fleet_stats_read();
    Ok(())
}

/// How many events wait for their delivery, up to [`UNSETTLED_COUNTED_MAX`] for each destination and status.
///
/// # Errors
/// Any database error.
pub(crate) async fn number_waiting(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let mut waiting = 0;
    for name in DESTINATIONS {
        for status in [EventStatus::Pending, EventStatus::Leased] {
            waiting += unsigned(unsettled(db, name, status).await?);
        }
    }
    Ok(waiting)
}

/// How many events of `destination` have this status.
async fn unsettled(db: &impl ConnectionTrait, destination: &str, status: EventStatus) -> Result<i64, DbErr> {
    let row = db.query_one(&number_of_unsettled(destination, status, UNSETTLED_COUNTED_MAX)).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
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
    let some = waiting(destination, status).column(Column::Destination).order_by_asc(order).limit(limit);
    Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(some.into_query(), "some").to_owned()
}

/// When the pending event of `destination` was due that has been due for longest. Public so that tests can read its query plan.
#[must_use]
pub fn oldest_due(destination: &str) -> Select<Entity> {
    waiting(destination, EventStatus::Pending).column(Column::DueAt).order_by_asc(Column::DueAt).limit(1)
}

fn waiting(destination: &str, status: EventStatus) -> Select<Entity> {
    Entity::find().select_only().filter(status_in(&[status])).filter(Column::Destination.eq(destination))
}

/// Events of one destination and status among those that settled last.
struct SettledLately {
    destination: String,
    status: EventStatus,
    events: i64,
    /// How many of them settled in the last minute.
    in_last_minute: i64,
    /// When the first of all those settled that were counted; none if these are all that there are in the last minute.
    counted_since: Option<DateTime<Utc>>,
}

impl SettledLately {
    /// How many settle in a minute.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small counts"
    )]
    fn in_a_minute(&self, at: DateTime<Utc>) -> u64 {
        match self.counted_since {
            None => unsigned(self.in_last_minute),
            Some(since) => (self.events as f64 * 60.0 / (at - since).as_seconds_f64().max(1.0)) as u64,
        }
    }
}

/// How many events were delivered to `destination` in the last minute.
pub(super) async fn delivered_last_minute(
    db: &impl ConnectionTrait,
    destination: &str,
    at: DateTime<Utc>,
) -> Result<u64, DbErr> {
    let all = settled_lately(db, at).await?;
    let of = |lately: &&SettledLately| lately.destination == destination && lately.status == EventStatus::Delivered;
    Ok(all.iter().find(of).map_or(0, |lately| lately.in_a_minute(at)))
}

async fn settled_lately(db: &impl ConnectionTrait, at: DateTime<Utc>) -> Result<Vec<SettledLately>, DbErr> {
    let (since, mut all) = (at - TimeDelta::minutes(1), Vec::new());
    for query in numbers_of_settled(db.get_database_backend(), since, SETTLED_COUNTED_MAX) {
        let mut counted = Vec::new();
        let mut first: Option<DateTime<Utc>> = None;
        for row in db.query_all(&query).await? {
            let oldest: Option<DateTime<Utc>> = row.try_get_by_index(4)?;
            first = [first, oldest].into_iter().flatten().min();
            counted.push(SettledLately {
                destination: row.try_get_by_index(0)?,
                status: row.try_get_by_index(1)?,
                events: row.try_get_by_index(2)?,
                in_last_minute: row.try_get_by_index(3)?,
                counted_since: None,
            });
        }
        let total: i64 = counted.iter().map(|lately| lately.events).sum();
        let counted_since = first.filter(|first| unsigned(total) >= SETTLED_COUNTED_MAX && *first > since);
        all.extend(counted.into_iter().map(|lately| SettledLately { counted_since, ..lately }));
    }
    Ok(all)
}

/// The queries that count what settled last, and how much of it after `since`.
/// Public so that tests can read their query plans.
#[must_use]
pub fn numbers_of_settled(backend: DbBackend, since: DateTime<Utc>, limit: u64) -> Vec<SelectStatement> {
    let query = |statuses: &&[EventStatus]| {
        let last = Entity::find()
            .select_only()
            .columns([Column::Destination, Column::Status, Column::SettledAt])
            .filter(status_in(statuses))
            .order_by_desc(Column::SettledAt)
            .limit(limit)
            .into_query();
        let after = CaseStatement::new().case(Expr::col(Column::SettledAt).gt(since), Expr::val(1));
        Query::select()
            .columns([Column::Destination, Column::Status])
            .expr(Func::count(Expr::col(Asterisk)))
            .expr(Func::count(after))
            .expr(Func::min(Expr::col(Column::SettledAt)))
            .from_subquery(last, "lately")
            .group_by_columns([Column::Destination, Column::Status])
            .to_owned()
    };
    settled_statuses(backend).iter().map(query).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_more_settled_than_are_counted_their_rate_is_told() {
        let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1);
        let lately = |events, in_last_minute, counted_since| SettledLately {
            destination: "fee-server".into(),
            status: EventStatus::Delivered,
            events,
            in_last_minute,
            counted_since,
        };
        assert_eq!(lately(2_000, 70, None).in_a_minute(at), 70);
        assert_eq!(lately(2_000, 2_000, Some(at - TimeDelta::seconds(20))).in_a_minute(at), 6_000);
        assert_eq!(lately(2_000, 2_000, Some(at)).in_a_minute(at), 120_000);
    }
}
