//! Recording attempts that ended. The number of statements depends on the kinds of end, and not on the number of events.

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use sea_orm::{ActiveEnum, DbErr, Value};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    Attempt, Disposition, Failure, Outcome, Receipt, cause::cause, destinations::Blame, failure::FAILURES_MAX,
    outcome::ERROR_LENGTH_MAX, receipt, settle::spends_attempt,
};
use crate::{
    database::{
        DatabaseTransaction,
        update_each::{Cell, Column, Type, UpdateEach},
    },
    printable::printable,
};

const TABLE: &str = "outbox_event";

/// Marks events as delivered. The caller holds their locks and has compared the leases.
///
/// The lease's token stays with the event: when the answer to a commit is lost and settling is repeated, the token shows what
/// was settled already. `leased_until` shows that the lease is over.
pub(super) async fn mark_delivered<R: Receipt>(
    txn: &DatabaseTransaction,
    attempts: &[&Attempt<R>],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let update = UpdateEach {
        table: TABLE,
        to_all: &[
            ("status", Status::Delivered.to_value().into()),
            ("settled_at", now.into()),
            ("leased_until", Value::ChronoDateTimeUtc(None)),
        ],
        by_row: &[Column("receipt", Type::Json)],
    };
    update.run(txn, attempts.iter().map(|it| (it.event.id, vec![Cell::Json(receipt::of(it))])).collect()).await
}

/// An attempt that failed, and what its row becomes.
pub(super) struct Ended {
    id: Uuid,
    /// It was handed back, or left no result before its lease ended: the token must settle nothing any more.
    clears_token: bool,
    cells: Vec<Cell>,
}

impl Ended {
    /// The row of the event of `attempt` after `disposition`; `blame` says whether the attempt is spent.
    pub(super) fn new<R>(
        attempt: &Attempt<R>,
        blame: Blame,
        disposition: &Disposition,
        worker: &str,
        now: DateTime<Utc>,
    ) -> Self {
        let (event, unsent) = (&attempt.event, attempt.outcome.is_unsent());
        let (status, due_at, settled_at) = match disposition {
            // Handed back unsent, it stays where it was in the queue.
            Disposition::Pending(_) if unsent && !matches!(attempt.outcome, Outcome::PutOff(..)) => {
                (Status::Pending, Cell::Keep, Cell::Keep)
            }
            Disposition::Pending(due_at) => (Status::Pending, Cell::Time(*due_at), Cell::Keep),
            Disposition::Cancelled => (Status::Cancelled, Cell::Keep, Cell::Time(now)),
            // The others are not failures and never come here.
            Disposition::Dead(_)
            | Disposition::Delivered
            | Disposition::AlreadySettled(_)
            | Disposition::LeaseLost(_) => (Status::Dead, Cell::Keep, Cell::Time(now)),
        };
        let unknown = matches!(
            attempt.outcome,
            Outcome::Unknown(_) | Outcome::Broken(_) | Outcome::Misdirected { unknown: true, .. }
        );
        let (last_error, cause, failed_at, failures) = match attempt.outcome.error().filter(|_| !unsent) {
            None => (Cell::Keep, Cell::Keep, Cell::Keep, Cell::Keep),
            Some(error) => {
                let error = printable(error, ERROR_LENGTH_MAX);
                let failure = failure(attempt, &error, disposition, worker, now);
                let cause = cause(&failure.outcome, &error);
                let failures = remember(&event.failures, failure.into_json());
                (Cell::Text(error), Cell::Text(cause), Cell::Time(now), Cell::Json(failures))
            }
        };
        let cells = vec![
            Cell::Text(status.to_value()),
            Cell::Integer(if spends_attempt(attempt, blame) { event.attempt } else { event.attempt - 1 }),
            if unknown { Cell::Boolean(true) } else { Cell::Keep },
            due_at,
            settled_at,
            last_error,
            cause,
            failed_at,
            failures,
        ];
        Self { id: event.id, clears_token: unsent, cells }
    }

    /// The same for an attempt whose lease has run out: from now on its token settles nothing.
    pub(super) fn without_token(self) -> Self {
        Self { clears_token: true, ..self }
    }
}

/// Records failed attempts. The caller holds the locks and has compared the leases.
pub(super) async fn write_down(txn: &DatabaseTransaction, ended: Vec<Ended>) -> Result<(), DbErr> {
    let to_all = [
        ("leased_until", Value::ChronoDateTimeUtc(None)),
        ("leased_by", Value::String(None)),
        ("lease_token", Value::Uuid(None)),
    ];
    let by_row = [
        Column("status", Type::Text),
        Column("attempts", Type::Integer),
        Column("outcome_unknown", Type::Boolean),
        Column("due_at", Type::Time),
        Column("settled_at", Type::Time),
        Column("last_error", Type::Text),
        Column("cause", Type::Text),
        Column("failed_at", Type::Time),
        Column("failures", Type::Json),
    ];
    let (cleared, kept): (Vec<_>, Vec<_>) = ended.into_iter().partition(|ended| ended.clears_token);
    for (to_all, rows) in [(&to_all[..2], kept), (&to_all[..], cleared)] {
        let update = UpdateEach { table: TABLE, to_all, by_row: &by_row };
        update.run(txn, rows.into_iter().map(|ended| (ended.id, ended.cells)).collect()).await?;
    }
    Ok(())
}

fn failure<R>(
    attempt: &Attempt<R>,
    error: &str,
    disposition: &Disposition,
    worker: &str,
    now: DateTime<Utc>,
) -> Failure {
    let gave_up = match (disposition, &attempt.outcome) {
        (Disposition::Dead(_), Outcome::Refused(_) | Outcome::Broken(_)) => None,
        (Disposition::Dead(why), _) => Some(why.clone()),
        _ => None,
    };
    Failure {
        attempt: attempt.event.attempt,
        outcome: attempt.outcome.name().into(),
        error: error.into(),
        at: now,
        duration_ms: attempt.took_ms(),
        by: worker.into(),
        gave_up,
    }
}

fn remember(failures: &Json, failure: Json) -> Json {
    let mut failures = failures.as_array().cloned().unwrap_or_default();
    failures.push(failure);
    let excess = failures.len().saturating_sub(FAILURES_MAX);
    failures.drain(..excess);
    Json::Array(failures)
}
