//! How the outbox does, in numbers that stay cheap however long its history is.
//!
//! What is alive or dead is counted exactly, from indexes that hold nothing else: they are as small as the backlog. What
//! was delivered or cancelled is counted among the [`SETTLED_COUNTED_MAX`] that settled last, read backwards from the
//! index that retention uses, so that a history of millions costs no more than that.

use chrono::{DateTime, TimeDelta, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Alias, Asterisk, Expr, Func, Query},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{DestinationState, EventStatus, claim::status_in, destinations};
use crate::{database::Database, telemetry::metrics};

/// Up to how many delivered and cancelled events are counted, the last ones first.
pub const SETTLED_COUNTED_MAX: u64 = 10_000;

/// The outbox in numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OutboxStats)]
pub struct Stats {
    /// By destination.
    pub destinations: Vec<DestinationStats>,
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

/// Counts.
///
/// # Errors
/// What the database answers.
pub async fn stats(db: &Database) -> Result<Stats, DbErr> {
    let connection = db.connection();
    let at = db.now(connection).await?;
    let mut stats: Vec<_> = destinations(connection).await?.into_iter().map(DestinationStats::of).collect();
    // One statement a status: each has an index of its own.
    for status in [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead] {
        for (destination, count, oldest_due_at) in unsettled(connection, status).await? {
            let stats = of(&mut stats, &destination);
            *stats.events.of(status) = unsigned(count);
            if status == EventStatus::Pending {
                stats.oldest_due_seconds = (at - oldest_due_at).as_seconds_f64().max(0.0);
            }
        }
    }
    for (destination, status, count) in settled_lately(connection).await? {
        *of(&mut stats, &destination).events.of(status) = unsigned(count);
    }
    for (destination, count) in delivered_since(connection, at - TimeDelta::minutes(1)).await? {
        of(&mut stats, &destination).delivered_last_minute = unsigned(count);
    }
    Ok(Stats { destinations: stats, settled_counted_max: SETTLED_COUNTED_MAX, at })
}

/// Counts, and sets the gauges that operators watch.
///
/// # Errors
/// What the database answers; then the gauges stay as they were.
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

async fn unsettled(db: &impl ConnectionTrait, status: EventStatus) -> Result<Vec<(String, i64, DateTime<Utc>)>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Destination)
        .expr(Func::count(Expr::col(Asterisk)))
        .expr(Func::min(Expr::col(Column::DueAt)))
        .filter(status_in(&[status]))
        .group_by(Column::Destination)
        .into_tuple()
        .all(db)
        .await
}

async fn settled_lately(db: &impl ConnectionTrait) -> Result<Vec<(String, EventStatus, i64)>, DbErr> {
    use EventStatus::{Cancelled, Delivered};
    // The index over settled events is partial where the database has that, and led by the status on MariaDB: there one
    // look for both statuses would sort them all.
    let looks: &[&[EventStatus]] = match db.get_database_backend() {
        DbBackend::MySql => &[&[Delivered], &[Cancelled]],
        _ => &[&[Delivered, Cancelled]],
    };
    let lately = Alias::new("lately");
    let mut counts = Vec::new();
    for statuses in looks {
        let last = Entity::find()
            .select_only()
            .columns([Column::Destination, Column::Status])
            .filter(status_in(statuses))
            .order_by_desc(Column::SettledAt)
            .limit(SETTLED_COUNTED_MAX)
            .into_query();
        let counted = Query::select()
            .columns([Column::Destination, Column::Status])
            .expr(Func::count(Expr::col(Asterisk)))
            .from_subquery(last, lately.clone())
            .group_by_columns([Column::Destination, Column::Status])
            .to_owned();
        for row in db.query_all(&counted).await? {
            counts.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?));
        }
    }
    Ok(counts)
}

async fn delivered_since(db: &impl ConnectionTrait, since: DateTime<Utc>) -> Result<Vec<(String, i64)>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Destination)
        .expr(Func::count(Expr::col(Asterisk)))
        // Both, as the index is over both.
        .filter(status_in(&[EventStatus::Delivered, EventStatus::Cancelled]))
        .filter(Column::SettledAt.gt(since))
        .filter(Column::Status.eq(EventStatus::Delivered))
        .group_by(Column::Destination)
        .into_tuple()
        .all(db)
        .await
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
