//! What the fleet shares about each destination, as operators see it, and an operator's pause.

use chrono::{DateTime, Utc};
use entity::destination::{ActiveModel, Circuit, Column, Entity, Model};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::Serialize;

use super::{FleetLimits, without_wrong_clocks};
use crate::database::DatabaseTransaction;

/// A destination's shared state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "server", schema(as = Destination))]
pub struct DestinationState {
    /// `fee-server`, `kafka`.
    pub name: String,
    /// Set while an operator pauses deliveries.
    pub paused: Option<Pause>,
    /// The destination asked not to be called before this time (`Retry-After`).
    pub not_before: Option<DateTime<Utc>>,
    /// Set while the circuit is open: too many deliveries failed.
    pub circuit: Option<OpenCircuit>,
    /// Of the whole fleet. Consecutive failures of one event count as one.
    pub consecutive_failures: i32,
    /// What operators allow the whole fleet at most.
    pub limits: FleetLimits,
}

/// An operator's pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, if a reason was given.
    pub reason: Option<String>,
}

/// An open circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OpenCircuit {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why: what opened it, or the error of the last probe.
    pub reason: Option<String>,
    /// When the next single probe may go out.
    pub next_probe_at: Option<DateTime<Utc>>,
}

/// All destinations, by name.
///
/// # Errors
/// Any database error.
pub async fn destinations(db: &impl ConnectionTrait) -> Result<Vec<DestinationState>, DbErr> {
    let rows = Entity::find().order_by_asc(Column::Name).all(db).await?;
    Ok(rows.into_iter().map(DestinationState::from).collect())
}

/// The destination `name`, if there is one.
///
/// # Errors
/// Any database error.
pub async fn destination(db: &impl ConnectionTrait, name: &str) -> Result<Option<DestinationState>, DbErr> {
    Ok(Entity::find_by_id(name).one(db).await?.map(DestinationState::from))
}

/// Records for the fleet that the server at `base_url` answers look-ups with lists.
///
/// # Errors
/// Any database error; then nothing is recorded.
pub async fn record_look_ups(db: &impl ConnectionTrait, name: &str, base_url: &str) -> Result<(), DbErr> {
    let seen = ActiveModel { lists_fees_at: Set(Some(base_url.into())), ..Default::default() };
    Entity::update_many().set(seen).filter(Column::Name.eq(name)).exec(db).await.map(drop)
}

/// Whether the fleet has recorded that the server at `base_url` answers look-ups with lists.
///
/// # Errors
/// Any database error.
pub async fn has_look_ups(db: &impl ConnectionTrait, name: &str, base_url: &str) -> Result<bool, DbErr> {
    let seen: Option<Option<String>> =
        Entity::find_by_id(name).select_only().column(Column::ListsFeesAt).into_tuple().one(db).await?;
    Ok(seen.flatten().is_some_and(|seen| seen == base_url))
}

/// Pauses deliveries to `name` in the whole fleet; `None` resumes them. Leased events are still delivered. A second pause
/// changes nothing: the first operator's name and reason stay. Returns whether anything changed.
///
/// # Errors
/// Any database error.
pub async fn set_pause(
    txn: &DatabaseTransaction,
    name: &str,
    pause: Option<&Pause>,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let Some(row) = Entity::find_by_id(name).lock_exclusive().one(txn).await? else {
        return Ok(false);
    };
    if row.paused_at.is_some() == pause.is_some() {
        return Ok(false);
    }
    let Model { not_before, probe_at, .. } = without_wrong_clocks(row, now);
    let change = ActiveModel {
        not_before: Set(not_before),
        probe_at: Set(probe_at),
        paused_at: Set(pause.map(|pause| pause.since)),
        paused_by: Set(pause.map(|pause| pause.by.clone())),
        pause_reason: Set(pause.and_then(|pause| pause.reason.clone())),
        updated_at: Set(now),
        callable_since: if pause.is_none() { Set(Some(now)) } else { NotSet },
        ..Default::default()
    };
    Entity::update_many().set(change).filter(Column::Name.eq(name)).exec(txn).await?;
    Ok(true)
}

impl DestinationState {
    /// Of a destination without a row, for example one that is no longer configured.
    pub(crate) fn unknown(name: &str) -> Self {
        let limits = FleetLimits::default();
        Self { name: name.into(), paused: None, not_before: None, circuit: None, consecutive_failures: 0, limits }
    }
}

impl From<Model> for DestinationState {
    fn from(row: Model) -> Self {
        let limits = FleetLimits::of(&row);
        let by = row.paused_by.unwrap_or_else(|| "somebody".into());
        let reason = row.pause_reason;
        let circuit = (row.circuit == Circuit::Open).then(|| OpenCircuit {
            since: row.circuit_opened_at.unwrap_or(row.updated_at),
            reason: row.circuit_reason,
            next_probe_at: row.probe_at,
        });
        Self {
            name: row.name,
            paused: row.paused_at.map(|since| Pause { by, since, reason }),
            not_before: row.not_before,
            circuit,
            consecutive_failures: row.consecutive_failures,
            limits,
        }
    }
}
