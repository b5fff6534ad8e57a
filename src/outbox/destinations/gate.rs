//! What the fleet shares about a destination: an operator's pause, the destination's own wish to be left alone
//! (`Retry-After`), and the circuit.
//!
//! The circuit opens after `circuit.failures` failures in a row, or at once when our credentials are refused; `weather` says
//! what counts. While it is open one delivery at a time goes out in the whole fleet, the *probe*: the worker that moves
//! `probe_at` forward has it. A probe that is delivered closes the circuit; one that fails leaves it open for another
//! `circuit.cool_down`, and the next probe is another event.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, Query, SelectStatement},
};

use crate::{
    clock::{Clock, LEASE_MAX, SKEW_MAX, WAIT_MAX, after, is_beyond},
    database::{Database, DatabaseTransaction},
    outbox::DestinationName,
};

/// Why nothing is claimed for a destination although events may be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// By an operator.
    Paused,
    /// The destination asked to be left alone until then.
    NotBefore(DateTime<Utc>),
    /// The next probe may go out then.
    CircuitOpen(DateTime<Utc>),
}

impl Held {
    /// How long it goes on from `now`, if it ends by itself.
    pub(in crate::outbox) fn ends_in(&self, now: DateTime<Utc>) -> Option<Duration> {
        match self {
            Self::Paused => None,
            Self::NotBefore(until) | Self::CircuitOpen(until) => Some((*until - now).to_std().unwrap_or_default()),
        }
    }
}

/// Whether a claim may pass.
#[derive(Debug)]
pub(in crate::outbox) enum Passage {
    /// Deliveries flow.
    Free,
    /// One event may go out; the caller has the fleet's only probe until its lease ends.
    Probe,
    /// Nothing goes out.
    Held(Held),
}

/// What a claim learns about its destination.
#[derive(Debug)]
pub(in crate::outbox) struct Pass {
    pub(in crate::outbox) passage: Passage,
    /// The ages of its events count from here at the earliest.
    pub(in crate::outbox) callable_since: Option<DateTime<Utc>>,
    pub(in crate::outbox) now: DateTime<Utc>,
}

/// Makes sure that each destination has its row.
///
/// # Errors
/// What the database answers.
pub async fn ensure_destinations(db: &Database, names: &[&DestinationName]) -> Result<(), DbErr> {
    let now = db.now(db.connection()).await?;
    for name in names {
        // To insert what is there makes MariaDB wait for whoever holds the row.
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

/// Why nothing may go out to `name`, if that is so. Takes no probe.
///
/// # Errors
/// What the database answers.
pub async fn held(
    db: &impl ConnectionTrait,
    name: &DestinationName,
    now: DateTime<Utc>,
) -> Result<Option<Held>, DbErr> {
    let row = destination::Entity::find_by_id(name.as_str()).one(db).await?;
    Ok(row.and_then(|row| hold(&believed(row, now), now)))
}

/// The same by the database's clock, in one statement.
///
/// # Errors
/// Any database error.
pub async fn held_now(db: &Database, name: &DestinationName) -> Result<Option<Held>, DbErr> {
    let seen = see(db.connection(), db.clock(), name).await?;
    Ok(seen.and_then(|Seen { row, now }| hold(&believed(row, now), now)))
}

/// Since when each destination can be called. Time under a hold is not counted against its events: one that is held now
/// can be called since `now`.
pub(in crate::outbox) async fn callable_since(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
) -> Result<HashMap<String, DateTime<Utc>>, DbErr> {
    let rows = destination::Entity::find().all(db).await?;
    let since = rows.into_iter().map(|row| believed(row, now));
    let since = since.filter_map(|row| Some((callable(&row, now)?, row.name)));
    Ok(since.map(|(since, name)| (name, since)).collect())
}

fn callable(row: &destination::Model, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if hold(row, now).is_some() { Some(now) } else { row.callable_since.max(row.not_before) }
}

/// The row without holds that a wrong clock has stored: they last longer than any setting permits, or the row was changed at
/// a time that has not come yet.
pub(in crate::outbox) fn believed(row: destination::Model, now: DateTime<Utc>) -> destination::Model {
    let is_ahead = is_beyond(now, row.updated_at, SKEW_MAX);
    let not_before = row.not_before.filter(|until| !is_ahead && !is_beyond(now, *until, WAIT_MAX));
    let probe_at = row.probe_at.map(|at| if is_ahead || is_beyond(now, at, LEASE_MAX) { now } else { at });
    let updated_at = if is_ahead { now } else { row.updated_at };
    destination::Model { not_before, probe_at, updated_at, ..row }
}

fn hold(row: &destination::Model, now: DateTime<Utc>) -> Option<Held> {
    if row.paused_at.is_some() {
        return Some(Held::Paused);
    }
    if let Some(until) = row.not_before.filter(|until| *until > now) {
        return Some(Held::NotBefore(until));
    }
    (row.circuit == Circuit::Open).then(|| Held::CircuitOpen(row.probe_at.unwrap_or(now)))
}

/// A destination's row, and the time at which it was read: one question for both.
#[derive(FromQueryResult)]
struct Seen {
    #[sea_orm(nested)]
    row: destination::Model,
    now: DateTime<Utc>,
}

async fn see(db: &impl ConnectionTrait, clock: &Clock, name: &str) -> Result<Option<Seen>, DbErr> {
    let seen = destination::Entity::find_by_id(name).expr_as(clock.as_sql(db.get_database_backend()), "now");
    seen.into_model().one(db).await
}

/// Asks whether deliveries to `name` may go out, and takes the probe for `probe_for` if one is due. Tells the time, too.
pub(in crate::outbox) async fn pass(
    txn: &DatabaseTransaction,
    clock: &Clock,
    name: &str,
    probe_for: Duration,
) -> Result<Pass, DbErr> {
    let Some(Seen { row, now }) = see(txn, clock, name).await? else {
        return Ok(Pass { passage: Passage::Free, callable_since: None, now: clock.now(txn).await? });
    };
    let stored = row.probe_at;
    let row = believed(row, now);
    let passage = match hold(&row, now) {
        None => Passage::Free,
        Some(Held::CircuitOpen(probe_at)) if probe_at <= now => {
            take_probe(txn, &row.name, stored, now, after(now, probe_for)).await?
        }
        Some(held) => Passage::Held(held),
    };
    Ok(Pass { passage, callable_since: callable(&row, now), now })
}

/// Takes the probe that is due, and puts the next one off `until` then, if nobody was quicker.
async fn take_probe(
    txn: &DatabaseTransaction,
    name: &str,
    probe_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Passage, DbErr> {
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
    Ok(if taken.rows_affected == 1 { Passage::Probe } else { Passage::Held(Held::CircuitOpen(until)) })
}

/// A question: has the fleet counted failures of `name` that a success would end? Asked along with another one, it saves
/// settling, which is nearly always about successes, a statement that changes nothing.
pub(in crate::outbox) fn failures_counted(name: &str) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(destination::Entity)
        .and_where(destination::Column::Name.eq(name))
        .and_where(destination::Column::Circuit.eq(Circuit::Closed))
        .and_where(destination::Column::ConsecutiveFailures.gt(0))
        .take()
}
