//! Taking due events: a lease is written and committed, and the worker may deliver the events until it ends.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::outbox_event::{self, Column, Entity, Status};
use sea_orm::{
    ActiveEnum,
    ActiveValue::Set,
    ColumnTrait, Condition, DbBackend, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Select, UpdateMany,
    sea_query::{Alias, Expr, LockBehavior, LockType, Query, SelectStatement},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    DestinationName, EventType, Failure, Lane,
    claim_at_once::claim_at_once,
    destinations::{self, GateCheck, Hold, Permit, Room},
    failure::FAILURES_MAX,
    held_lanes::HeldLanes,
    shares::{Shares, shares},
    turns::{Turn, pending_of},
};
use crate::{
    clock::after,
    database::{Database, DatabaseFailure, DatabaseTransaction, found_status, padded},
};

/// Who claims what.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// Whose events.
    pub destination: &'a DestinationName,
    /// The worker's name, for operators.
    pub worker: &'a str,
    /// How many events at most.
    pub limit: usize,
    /// How long the right to deliver them lasts.
    pub lease: Duration,
    /// The destination's lanes: those with an open circuit give nothing but their probes.
    pub lanes: &'static [Lane],
    /// Which partners come first: those at which the last claim of this worker ended.
    pub turn: Turn,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claim {
    /// Due events, the longest due first; they are leased to the caller.
    pub events: Vec<LeasedEvent>,
    /// There may be more.
    pub is_full: bool,
    /// Where the next claim of this worker begins.
    pub next_turn: Turn,
    /// What holds the destination back; then there are no events.
    pub hold: Option<Hold>,
    /// How long the hold lasts; `None` if only an operator ends it.
    pub hold_remaining: Option<Duration>,
    /// The fleet has limits for the destination: so long no further call may begin, as far as is known.
    pub limited: Option<Duration>,
    /// The lanes whose circuits are open.
    pub held_lanes: Vec<&'static DestinationName>,
    /// When the next probe of one of them may go out.
    pub lane_remaining: Option<Duration>,
}

/// An event that this worker may deliver until its lease ends.
#[derive(Clone, Debug)]
pub struct LeasedEvent {
    /// Also the idempotency key of every attempt.
    pub id: Uuid,
    /// What it is about, for example the quote's id.
    pub aggregate_id: Uuid,
    /// What it says.
    pub event_type: EventType,
    /// Where it goes.
    pub destination: DestinationName,
    /// Whose it is; empty if it is nobody's.
    pub partner: String,
    /// What the destination gets.
    pub payload: Value,
    /// W3C `traceparent` of the submission.
    pub trace_context: Option<String>,
    /// The running attempt's number, from 1.
    pub attempt: i32,
    /// An earlier attempt may have reached the destination: this one looks up before it sends.
    pub outcome_unknown: bool,
    /// The fleet's only probe while the circuit of its destination, or of its lane, is open.
    pub probe: bool,
    /// The part of its destination that it goes to, if that has parts.
    pub lane: Option<&'static DestinationName>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was stored or last revived, or when its destination could be called again after that.
    pub live_since: DateTime<Utc>,
    /// Settling compares it with the row's.
    pub lease_token: Uuid,
    /// When the lease ends by this host's monotonic clock, counted from before the claim was sent: never later than by the
    /// database's clock.
    pub lease_ends: Instant,
    /// Earlier failures, for the record.
    pub(super) failures: Value,
}

/// Claims up to `limit` due events of one destination.
///
/// Partners take turns. Each of those that have something due gets an equal share of `limit`, the longest due first, and what they
/// leave goes to those that have more. If there are more than 32, the next claim goes on with those behind them.
///
/// It writes: `leased`, a new token and `attempts + 1` are committed before the caller sees the events, so that a crash
/// at any later line leaves a lease that runs out and an attempt that is counted. A transaction of several statements, because
/// `MariaDB` knows no `UPDATE … RETURNING`; on `PostgreSQL` one statement does it (`claim_at_once`), unless something may
/// hold the destination back.
///
/// # Errors
/// Any database error; then nothing is claimed.
pub async fn claim(db: &Database, request: &ClaimRequest<'_>) -> Result<Claim, DbErr> {
    if db.connection().get_database_backend() == DbBackend::Postgres
        && let Some(claim) = claim_at_once(db, request).await?
    {
        return Ok(claim);
    }
    let claimed = db.transaction(|txn| Box::pin(async move { claim_in(&txn, db, request).await }));
    match claimed.await {
        Ok(claim) => Ok(claim),
        Err(NoClaim::Nothing(claim)) => Ok(*claim),
        Err(NoClaim::Database(error)) => Err(error),
    }
}

/// Why nothing is claimed.
enum NoClaim {
    /// There is nothing to claim. The transaction is rolled back, and with it a probe that was taken.
    Nothing(Box<Claim>),
    Database(DbErr),
}

impl From<DbErr> for NoClaim {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl DatabaseFailure for NoClaim {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Nothing(_) => None,
            Self::Database(error) => Some(error),
        }
    }
}

async fn claim_in(txn: &DatabaseTransaction, db: &Database, request: &ClaimRequest<'_>) -> Result<Claim, NoClaim> {
    let lease_ends = Instant::now() + request.lease;
    let check = destinations::check(txn, db.clock(), request.destination, request.lease).await?;
    let GateCheck { permit, callable_since, is_limited, now } = check;
    let (limit, probe, lanes) = match permit {
        Permit::All => (request.limit, false, HeldLanes::read(txn, request, now).await?),
        // It shows whether the destination answers at all, whatever it says about a lane.
        Permit::Probe => (1, true, HeldLanes::default()),
        Permit::None(hold) => {
            let hold_remaining = hold.remaining(now);
            return Err(NoClaim::Nothing(Box::new(Claim { hold: Some(hold), hold_remaining, ..Claim::default() })));
        }
    };
    let name = request.destination.as_str();
    let mut room = if is_limited { Room::of(txn, db.clock(), name).await? } else { None };
    let limit = room.as_ref().map_or(limit, |room| room.calls.min(limit));
    // Other claims may have had their turn since the first look at the clock.
    let now = room.as_ref().map_or(now, Room::now);
    if let Some(room) = room.as_ref().filter(|_| limit == 0) {
        let (next_turn, limited) = (request.turn.clone(), Some(room.wait()));
        return Err(NoClaim::Nothing(Box::new(Claim { is_full: true, next_turn, limited, ..Claim::default() })));
    }
    let Shares { partners, mut due, given_up, mut is_full, next_turn } =
        shares(txn, request, &lanes, now, limit).await?;
    let probes = lanes.probes(txn, request, &partners, now).await?;
    // They are calls, too.
    is_full |= due.len() + probes.len() > limit;
    due.truncate(limit.saturating_sub(probes.len()));
    let claim =
        Claim { next_turn, held_lanes: lanes.names(), lane_remaining: lanes.remaining(now), ..Claim::default() };
    if due.is_empty() && probes.is_empty() {
        let limited = room.map(|room| room.wait());
        let claim = Claim { is_full: is_full || given_up > 0, limited, ..claim };
        // What was given up must be committed, and others may be due after it.
        return if given_up > 0 { Ok(claim) } else { Err(NoClaim::Nothing(Box::new(claim))) };
    }
    if let Some(room) = &mut room {
        room.take(txn, name, due.len() + probes.len()).await?;
    }
    let lease_token = Uuid::new_v4();
    let ids = due.iter().chain(&probes).map(|event| event.id);
    leased(ids, request.worker, lease_token, after(now, request.lease)).exec(txn).await?;
    let probes = probes.into_iter().map(|row| (row, true));
    let events = due.into_iter().map(|row| (row, probe)).chain(probes).map(|(row, probe)| {
        let attempt = row.attempts + 1;
        let event = LeasedEvent::new(row, attempt, lease_token, lease_ends, probe);
        event.in_lane_of(request.lanes).callable_since(callable_since)
    });
    let limited = room.map(|room| room.wait());
    Ok(Claim { events: events.collect(), is_full, limited, ..claim })
}

/// The query of [`claim`]: up to `limit` events of `partner` for `destination` that are due, and that no earlier event holds back.
/// Public so that tests can read its query plan.
#[must_use]
pub fn due(backend: DbBackend, destination: &str, partner: &str, now: DateTime<Utc>, limit: usize) -> Select<Entity> {
    pending_of(backend, destination, partner, now)
        // First events, nearly all, need no subquery.
        .filter(Condition::any().add(Column::Sequence.eq(1)).add(Expr::exists(an_earlier_unfinished_event()).not()))
        .limit(limit as u64)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
}

/// An earlier event of the same aggregate and destination that is not finished. A dead one holds back those after it, too,
/// until an operator retries it or gives it up.
pub(crate) fn an_earlier_unfinished_event() -> SelectStatement {
    let earlier = Alias::new("earlier");
    let unfinished = [Status::Pending, Status::Leased, Status::Dead];
    Query::select()
        .expr(Expr::val(1))
        .from_as(Entity, earlier.clone())
        .and_where(Expr::col((earlier.clone(), Column::AggregateId)).equals((Entity, Column::AggregateId)))
        .and_where(Expr::col((earlier.clone(), Column::Destination)).equals((Entity, Column::Destination)))
        .and_where(Expr::col((earlier.clone(), Column::Sequence)).lt(Expr::col((Entity, Column::Sequence))))
        .and_where(found_status((earlier, Column::Status), unfinished))
        .limit(1)
        .offset(0)
        .take()
}

/// The statement that leases events `ids` to the worker. Public so that tests can read its query plan.
#[must_use]
pub fn leased(ids: impl Iterator<Item = Uuid>, worker: &str, token: Uuid, until: DateTime<Utc>) -> UpdateMany<Entity> {
    Entity::update_many()
        .set(outbox_event::ActiveModel {
            status: Set(Status::Leased),
            lease_token: Set(Some(token)),
            leased_until: Set(Some(until)),
            leased_by: Set(Some(worker.into())),
            ..Default::default()
        })
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(Column::Id.is_in(padded(ids)))
}

impl LeasedEvent {
    pub(super) fn new(row: outbox_event::Model, attempt: i32, token: Uuid, ends: Instant, probe: bool) -> Self {
        Self {
            id: row.id,
            aggregate_id: row.aggregate_id,
            event_type: EventType::from_table(row.event_type),
            destination: DestinationName::from_table(row.destination),
            partner: row.partner,
            payload: row.payload,
            trace_context: row.trace_context,
            attempt,
            outcome_unknown: row.outcome_unknown,
            probe,
            lane: None,
            created_at: row.created_at,
            live_since: row.live_since,
            lease_token: token,
            lease_ends: ends,
            failures: row.failures,
        }
    }

    /// It goes to the one of `lanes` that takes its type.
    pub(super) fn in_lane_of(mut self, lanes: &'static [Lane]) -> Self {
        self.lane = Lane::of(lanes, &self.event_type).map(|lane| &lane.name);
        self
    }

    /// Its destination could not be called before.
    pub(super) fn callable_since(mut self, since: Option<DateTime<Utc>>) -> Self {
        if let Some(since) = since.filter(|since| *since > self.live_since) {
            self.live_since = since;
        }
        self
    }

    /// Its failures since it was stored or last revived, oldest first; no more than are remembered.
    pub(super) fn failed(&self) -> Vec<Failure> {
        let failed = Failure::all_in(&self.failures);
        failed.into_iter().filter(|failure| failure.at >= self.live_since).collect()
    }

    /// Since when it has been failing, at an attempt that fails `now`. Time before its first failure does not count: there may
    /// have been no worker.
    pub(super) fn failing_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let failed = self.failed();
        if failed.len() >= FAILURES_MAX {
            return self.live_since;
        }
        failed.first().map_or(now, |failure| failure.at)
    }
}

/// `status` is one of these, written into the statement instead of bound to it: `SQLite` and a generic plan of
/// `PostgreSQL` use a partial index only if they can read its condition.
pub(crate) fn status_in(statuses: &[Status]) -> Expr {
    let column = Expr::col((Entity, Column::Status));
    match statuses {
        [status] => column.eq(literal(*status)),
        statuses => column.is_in(statuses.iter().copied().map(literal)),
    }
}

fn literal(status: Status) -> Expr {
    Expr::cust(format!("'{}'", status.to_value()))
}
