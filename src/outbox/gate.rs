//! What the fleet shares about a destination: an operator's pause, the destination's own wish to be left alone
//! (`Retry-After`), and the circuit.
//!
//! The circuit opens after `circuit.failures` failures in a row, or at once when our credentials are refused. While it is
//! open one delivery at a time goes out in the whole fleet, the *probe*: whoever moves `probe_at` forward has it. A probe
//! that is delivered closes the circuit; one that fails leaves it open for another `circuit.cool_down`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, Query, SelectStatement},
};

use super::{Outcome, Policy, circuit};
use crate::{
    clock::{Clock, after},
    database::{Database, DatabaseTransaction},
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

/// Whether a claim may pass.
#[derive(Debug)]
pub(super) enum Passage {
    /// Deliveries flow.
    Free,
    /// One event may go out; the caller has the fleet's only probe until its lease ends.
    Probe,
    /// Nothing goes out.
    Held(Held),
}

/// Makes sure that each destination has its row.
///
/// # Errors
/// What the database answers.
pub async fn ensure_destinations(db: &Database, names: &[&str]) -> Result<(), DbErr> {
    let now = db.now(db.connection()).await?;
    for name in names {
        // To insert what is there makes MariaDB wait for whoever holds the row.
        if destination::Entity::find_by_id(*name).one(db.connection()).await?.is_some() {
            continue;
        }
        let row = destination::ActiveModel {
            name: Set((*name).into()),
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
pub async fn held(db: &impl ConnectionTrait, name: &str, now: DateTime<Utc>) -> Result<Option<Held>, DbErr> {
    let row = destination::Entity::find_by_id(name).one(db).await?;
    Ok(row.and_then(|row| hold(&row, now)))
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

/// Asks whether deliveries to `name` may go out, and takes the probe for `probe_for` if one is due. Tells the time, too.
pub(super) async fn pass(
    txn: &DatabaseTransaction,
    clock: &Clock,
    name: &str,
    probe_for: Duration,
) -> Result<(Passage, DateTime<Utc>), DbErr> {
    let seen = destination::Entity::find_by_id(name).expr_as(clock.as_sql(txn.get_database_backend()), "now");
    let Some(Seen { row, now }) = seen.into_model().one(txn).await? else {
        return Ok((Passage::Free, clock.now(txn).await?));
    };
    let passage = match hold(&row, now) {
        None => Passage::Free,
        Some(Held::CircuitOpen(probe_at)) if probe_at <= now => take_probe(txn, &row, after(now, probe_for)).await?,
        Some(held) => Passage::Held(held),
    };
    Ok((passage, now))
}

/// Takes the probe that is due, and puts the next one off `until` then, if nobody was quicker.
async fn take_probe(
    txn: &DatabaseTransaction,
    row: &destination::Model,
    until: DateTime<Utc>,
) -> Result<Passage, DbErr> {
    // Compare and set: of two workers that see the same probe due, one moves it and the other finds it moved.
    let taken = destination::Entity::update_many()
        .set(destination::ActiveModel { probe_at: Set(Some(until)), ..Default::default() })
        .filter(destination::Column::Name.eq(&row.name))
        .filter(destination::Column::Circuit.eq(Circuit::Open))
        .filter(match row.probe_at {
            Some(probe_at) => destination::Column::ProbeAt.eq(probe_at),
            None => destination::Column::ProbeAt.is_null(),
        })
        .exec(txn)
        .await?;
    Ok(if taken.rows_affected == 1 { Passage::Probe } else { Passage::Held(Held::CircuitOpen(until)) })
}

/// A question: has the fleet counted failures of `name` that a success would end? Asked along with another one, it saves
/// settling, which is nearly always about successes, a statement that changes nothing.
pub(super) fn failures_counted(name: &str) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(destination::Entity)
        .and_where(destination::Column::Name.eq(name))
        .and_where(destination::Column::Circuit.eq(Circuit::Closed))
        .and_where(destination::Column::ConsecutiveFailures.gt(0))
        .take()
}

/// What a batch of outcomes, in the order in which they came, says about its destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    any_success: bool,
    failures_since_success: i32,
    reason: Option<String>,
    unauthorised: bool,
    retry_after: Option<Duration>,
    probe_succeeded: Option<bool>,
}

impl Weather {
    pub(super) fn note<R>(&mut self, outcome: &Outcome<R>, probe: bool) {
        let success = match outcome {
            // A refusal is an answer too: the destination is up.
            Outcome::Delivered(_) | Outcome::Refused(_) => true,
            Outcome::Retry(_)
            | Outcome::Unreachable(_)
            | Outcome::Unknown(_)
            | Outcome::Broken(_)
            | Outcome::Misdirected { .. } => false,
            Outcome::Unauthorised(_) | Outcome::Forbidden(_) => {
                self.unauthorised = true;
                false
            }
            Outcome::RetryAfter(_, wait) => {
                self.retry_after = self.retry_after.max(Some(*wait));
                if probe {
                    self.probe_succeeded = Some(false);
                }
                return;
            }
            Outcome::NotSent(_) | Outcome::OutOfResources(_) => return,
        };
        if success {
            self.any_success = true;
            self.failures_since_success = 0;
        } else {
            self.failures_since_success += 1;
            self.reason = outcome.error().map(str::to_owned);
        }
        if probe {
            self.probe_succeeded = Some(success);
        }
    }

    fn calm(&self) -> bool {
        self.any_success
            && self.failures_since_success == 0
            && self.retry_after.is_none()
            && self.probe_succeeded.is_none()
    }

    /// Writes it down for the fleet. In calm weather nothing is written unless there are `failures_counted`, so that the
    /// row is no bottleneck.
    pub(super) async fn share(
        self,
        txn: &DatabaseTransaction,
        name: &str,
        failures_counted: bool,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        if self == Self::default() || (self.calm() && !failures_counted) {
            return Ok(());
        }
        if self.calm() {
            destination::Entity::update_many()
                .set(destination::ActiveModel { consecutive_failures: Set(0), ..Default::default() })
                .filter(destination::Column::Name.eq(name))
                .filter(destination::Column::Circuit.eq(Circuit::Closed))
                .filter(destination::Column::ConsecutiveFailures.gt(0))
                .exec(txn)
                .await?;
            return Ok(());
        }
        let Some(row) = destination::Entity::find_by_id(name).lock_exclusive().one(txn).await? else {
            return Ok(());
        };
        let before = row.circuit;
        let row = self.applied(row, policy, now).update(txn).await?;
        circuit::moved(txn, name, (before, row.circuit), row.circuit_reason.as_deref(), now).await
    }

    fn applied(self, row: destination::Model, policy: &Policy, now: DateTime<Utc>) -> destination::ActiveModel {
        let failures = if self.any_success { 0 } else { row.consecutive_failures };
        let failures = failures.saturating_add(self.failures_since_success);
        let not_before = self.retry_after.map(|wait| after(now, wait.min(policy.retry_after_max)));
        let not_before = not_before.max(row.not_before);
        let too_many = u32::try_from(failures).is_ok_and(|failures| failures >= policy.circuit.failures);
        let was_open = row.circuit == Circuit::Open;
        let mut row = row.into_active_model();
        row.consecutive_failures = Set(failures);
        row.not_before = Set(not_before);
        row.updated_at = Set(now);
        if was_open && self.probe_succeeded == Some(true) {
            row.circuit = Set(Circuit::Closed);
            row.consecutive_failures = Set(0);
            row.circuit_opened_at = Set(None);
            row.circuit_reason = Set(None);
            row.probe_at = Set(None);
        } else if was_open && self.probe_succeeded == Some(false) {
            row.probe_at = Set(Some(after(now, policy.circuit.cool_down)));
        } else if !was_open && (self.unauthorised || too_many) {
            row.circuit = Set(Circuit::Open);
            row.circuit_opened_at = Set(Some(now));
            row.circuit_reason = Set(self.reason);
            row.probe_at = Set(Some(after(now, policy.circuit.cool_down)));
        }
        row
    }
}
