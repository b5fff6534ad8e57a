//! What keeps deliveries to a destination back: an operator's pause, a `Retry-After` of the destination, or an open circuit.
//!
//! The circuit opens after `circuit.failures` failures in a row, or at once when our credentials are refused; `health` says
//! what counts. While it is open, the whole fleet sends one delivery at a time, the *probe*. The worker that moves
//! `probe_at` forward has it. A probe that is delivered closes the circuit. One that fails leaves it open for another
//! `circuit.cool_down`, and the next probe is another event.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, Query, SelectStatement},
};

use super::{FleetLimits, held_lanes};
use crate::{
    clock::{Clock, LEASE_MAX, SKEW_MAX, WAIT_MAX, after, is_beyond},
    database::{Database, DatabaseTransaction},
    outbox::{DestinationName, Lane},
};

/// Why nothing is claimed for a destination although events may be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// An operator paused it.
    Paused,
    /// The destination asked not to be called before this time (`Retry-After`).
    NotBefore(DateTime<Utc>),
    /// The circuit is open. The next probe may go out at this time.
    CircuitOpen(DateTime<Utc>),
}

impl Hold {
    /// How long it lasts from `now`; `None` if only an operator ends it.
    pub(in crate::outbox) fn remaining(&self, now: DateTime<Utc>) -> Option<Duration> {
        match self {
            Self::Paused => None,
            Self::NotBefore(until) | Self::CircuitOpen(until) => Some((*until - now).to_std().unwrap_or_default()),
        }
    }
}

/// What a claim may take.
#[derive(Debug)]
pub(in crate::outbox) enum Permit {
    /// All that is due.
    All,
    /// One event: the caller has the fleet's only probe until its lease ends.
    Probe,
    /// Nothing.
    None(Hold),
}

/// What a claim learns about its destination.
#[derive(Debug)]
pub(in crate::outbox) struct GateCheck {
    pub(in crate::outbox) permit: Permit,
    /// The ages of its events count from here at the earliest.
    pub(in crate::outbox) callable_since: Option<DateTime<Utc>>,
    /// The fleet has limits for it.
    pub(in crate::outbox) is_limited: bool,
    pub(in crate::outbox) now: DateTime<Utc>,
}

/// Makes sure that each destination has its row.
///
/// # Errors
/// Any database error.
pub async fn ensure_destinations(db: &Database, names: &[&DestinationName]) -> Result<(), DbErr> {
    let now = db.now(db.connection()).await?;
    for name in names {
        // Inserting a row that exists makes MariaDB wait for its lock.
        if destination::Entity::find_by_id(name.as_str()).one(db.connection()).await?.is_some() {
            continue;
        }
        let row = destination::ActiveModel {
            name: Set(name.to_string()),
            circuit: Set(Circuit::Closed),
            consecutive_failures: Set(0),
            updated_at: Set(now),
            ..Default::default()
        };
        let insert = destination::Entity::insert(row);
        // `do_nothing` alone is written as `ON DUPLICATE KEY IGNORE` for MariaDB, which knows no such thing.
        let insert = insert.on_conflict(
            OnConflict::column(destination::Column::Name).do_nothing_on([destination::Column::Name]).to_owned(),
        );
        insert.exec_without_returning(db.connection()).await?;
    }
    Ok(())
}

/// What holds `name` back, if anything does. Takes no probe.
///
/// # Errors
/// Any database error.
pub async fn hold(
    db: &impl ConnectionTrait,
    name: &DestinationName,
    now: DateTime<Utc>,
) -> Result<Option<Hold>, DbErr> {
    let row = destination::Entity::find_by_id(name.as_str()).one(db).await?;
    Ok(row.and_then(|row| hold_of(&without_wrong_clocks(row, now), now)))
}

/// The same by the database's clock, in one statement.
///
/// # Errors
/// Any database error.
pub async fn hold_now(db: &Database, name: &DestinationName) -> Result<Option<Hold>, DbErr> {
    let state = read(db.connection(), db.clock(), name).await?;
    Ok(state.and_then(|State { row, now }| hold_of(&without_wrong_clocks(row, now), now)))
}

/// Since when each destination can be called. Time under a hold is not counted against its events: one that is held now
/// can be called since `now`.
pub(in crate::outbox) async fn callable_since(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
) -> Result<HashMap<String, DateTime<Utc>>, DbErr> {
    let rows = destination::Entity::find().all(db).await?;
    let since = rows.into_iter().map(|row| without_wrong_clocks(row, now));
    let since = since.filter_map(|row| Some((callable(&row, now)?, row.name)));
    Ok(since.map(|(since, name)| (name, since)).collect())
}

fn callable(row: &destination::Model, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if hold_of(row, now).is_some() { Some(now) } else { row.callable_since.max(row.not_before) }
}

/// The row without holds that a wrong clock has stored: they last longer than any setting permits, or the row was changed at
/// a time that has not come yet.
pub(in crate::outbox) fn without_wrong_clocks(row: destination::Model, now: DateTime<Utc>) -> destination::Model {
    let is_ahead = is_beyond(now, row.updated_at, SKEW_MAX);
    let not_before = row.not_before.filter(|until| !is_ahead && !is_beyond(now, *until, WAIT_MAX));
    let probe_at = row.probe_at.map(|at| if is_ahead || is_beyond(now, at, LEASE_MAX) { now } else { at });
    let updated_at = if is_ahead { now } else { row.updated_at };
    let past = |at: Option<DateTime<Utc>>| at.map(|at| if is_beyond(now, at, SKEW_MAX) { now } else { at });
    let (failing_since, callable_since) = (past(row.failing_since), past(row.callable_since));
    destination::Model { not_before, probe_at, updated_at, failing_since, callable_since, ..row }
}

pub(super) fn hold_of(row: &destination::Model, now: DateTime<Utc>) -> Option<Hold> {
    if row.paused_at.is_some() {
        return Some(Hold::Paused);
    }
    if let Some(until) = row.not_before.filter(|until| *until > now) {
        return Some(Hold::NotBefore(until));
    }
    (row.circuit == Circuit::Open).then(|| Hold::CircuitOpen(row.probe_at.unwrap_or(now)))
}

/// A destination's row, and the time at which it was read: one statement for both.
#[derive(FromQueryResult)]
struct State {
    #[sea_orm(nested)]
    row: destination::Model,
    now: DateTime<Utc>,
}

async fn read(db: &impl ConnectionTrait, clock: &Clock, name: &str) -> Result<Option<State>, DbErr> {
    let state = destination::Entity::find_by_id(name).expr_as(clock.as_sql(db.get_database_backend()), "now");
    state.into_model().one(db).await
}

/// The condition of [`is_open`] in the words of `PostgreSQL`, for a row `d` of `destination` at the time `at.now`. Where it does
/// not hold, [`check`] looks closer.
pub(in crate::outbox) const OPEN_GATE: &str = "d.paused_at IS NULL AND d.circuit = 'closed' \
    AND d.limit_per_second IS NULL AND d.limit_in_flight IS NULL \
    AND (d.not_before <= at.now) IS NOT FALSE AND d.updated_at <= at.now + interval '1 minute' \
    AND (d.callable_since <= at.now + interval '1 minute') IS NOT FALSE \
    AND (d.failing_since <= at.now + interval '1 minute') IS NOT FALSE";

/// Whether nothing holds `name` or one of its `lanes` back and it has no limits. Not if a wrong clock has stored something in its row,
/// or there is no row.
pub(in crate::outbox) async fn is_open(db: &Database, name: &str, lanes: &'static [Lane]) -> Result<bool, DbErr> {
    if !held_lanes(db.connection(), lanes).await?.is_empty() {
        return Ok(false);
    }
    let state = read(db.connection(), db.clock(), name).await?;
    Ok(state.is_some_and(|State { row, now }| {
        hold_of(&row, now - db.clock().skew()).is_none()
            && FleetLimits::of(&row).is_none()
            && without_wrong_clocks(row.clone(), now) == row
    }))
}

/// Checks whether deliveries to `name` may go out, and takes the probe for `probe_for` if one is due.
pub(in crate::outbox) async fn check(
    txn: &DatabaseTransaction,
    clock: &Clock,
    name: &str,
    probe_for: Duration,
) -> Result<GateCheck, DbErr> {
    let Some(State { row, now }) = read(txn, clock, name).await? else {
        return Ok(GateCheck {
            permit: Permit::All,
            callable_since: None,
            is_limited: false,
            now: clock.now(txn).await?,
        });
    };
    let stored = row.probe_at;
    let row = without_wrong_clocks(row, now);
    // Nor does a call begin early by a clock that is ahead of the one which the wait was stored by.
    let row = destination::Model { not_before: row.not_before.map(|until| after(until, clock.skew())), ..row };
    let permit = match hold_of(&row, now) {
        None => Permit::All,
        Some(Hold::CircuitOpen(probe_at)) if probe_at <= now => {
            take_probe(txn, &row.name, stored, now, after(now, probe_for)).await?
        }
        Some(hold) => Permit::None(hold),
    };
    let is_limited = !FleetLimits::of(&row).is_none();
    Ok(GateCheck { permit, callable_since: callable(&row, now), is_limited, now })
}

/// Takes the probe that is due, and puts the next one off until `until`, unless another worker was faster.
pub(super) async fn take_probe(
    txn: &DatabaseTransaction,
    name: &str,
    probe_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Permit, DbErr> {
    // Compare and set: of two workers that see the same probe due, one moves it and the other finds it moved.
    let taken = destination::Entity::update_many()
        .set(destination::ActiveModel { probe_at: Set(Some(until)), updated_at: Set(now), ..Default::default() })
        .filter(destination::Column::Name.eq(name))
        .filter(destination::Column::Circuit.eq(Circuit::Open))
        .filter(match probe_at {
            Some(probe_at) => destination::Column::ProbeAt.eq(probe_at),
            None => destination::Column::ProbeAt.is_null(),
        })
        .exec(txn)
        .await?;
    Ok(if taken.rows_affected == 1 { Permit::Probe } else { Permit::None(Hold::CircuitOpen(until)) })
}

/// Whether the fleet has counted failures of `name` that a success would end. As part of another query it saves settling,
/// which is nearly always about successes, a statement that changes nothing.
pub(in crate::outbox) fn failures_counted(name: &str) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(destination::Entity)
        .and_where(destination::Column::Name.eq(name))
        .and_where(destination::Column::Circuit.eq(Circuit::Closed))
        .and_where(destination::Column::ConsecutiveFailures.gt(0))
        .take()
}
