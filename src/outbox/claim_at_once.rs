//! The claim as `PostgreSQL` does it when nothing holds the destination back: one statement, one round trip, one commit.

use std::{collections::HashMap, time::Instant};

use chrono::{DateTime, Utc};
use entity::outbox_event::Model;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement};
use uuid::Uuid;

use super::{
    Claim, ClaimRequest, Lane, LeasedEvent,
    destinations::{OPEN_GATE, is_open},
    turns::{PARTNERS_MAX, Turn, WALK},
    unreadable::{self, columns},
};
use crate::{
    clock::Clock,
    crash,
    database::{Database, reading},
};

/// Claims due events. `None` if something may hold the destination back: then [`claim`](super::claim()) finds out what, in a
/// transaction.
///
/// The lease is committed before the caller sees the events, as in any claim. A caller that gets no answer has leased them all
/// the same, until the lease ends.
///
/// # Errors
/// Any database error. It is then unknown whether events are leased.
pub(super) async fn claim_at_once(db: &Database, request: &ClaimRequest<'_>) -> Result<Option<Claim>, DbErr> {
    let (lease_ends, lease_token) = (Instant::now() + request.lease, Uuid::new_v4());
    let rows = db.connection().query_all_raw(statement(db.clock(), request, lease_token)).await?;
    if rows.is_empty() {
        let (is_full, next_turn) = request.turn.next(None, false, false);
        let nothing = || Claim { is_full, next_turn, ..Claim::default() };
        return Ok(is_open(db, request.destination, request.lanes).await?.then(nothing));
    }
    let (is_full, next_turn) = what_is_left(request, &rows)?;
    let (mut events, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match reading(async { read(&row) }).await {
            Ok((model, callable_since)) => {
                let (due_at, attempt) = (model.due_at, model.attempts);
                let event = LeasedEvent::new(model, attempt, lease_token, lease_ends, false);
                events.push((due_at, event.in_lane_of(request.lanes).callable_since(callable_since)));
            }
            Err(_) => unreadable.push(row.try_get("", "id")?),
        }
    }
    if !unreadable.is_empty() {
        // The process may die here: they are leased, and the rescue finds them unreadable, too.
        crash::point("after-unreadable-claim");
        unreadable::give_up_all(db, &unreadable).await?;
    }
    events.sort_unstable_by_key(|(due_at, event)| (*due_at, event.id));
    Ok(Some(Claim {
        events: events.into_iter().map(|(_, event)| event).collect(),
        is_full,
        next_turn,
        ..Claim::default()
    }))
}

/// Whether there may be more, and where the next claim begins.
fn what_is_left(request: &ClaimRequest<'_>, rows: &[QueryResult]) -> Result<(bool, Turn), DbErr> {
    let (each, partners): (i64, i64) = (rows[0].try_get("", "each")?, rows[0].try_get("", "partners")?);
    let last: String = rows[0].try_get("", "last_partner")?;
    let mut got: HashMap<String, i64> = HashMap::new();
    for row in rows {
        // One that cannot be read is given up.
        *got.entry(row.try_get("", "partner").unwrap_or_default()).or_default() += 1;
    }
    let is_hungry = rows.len() >= request.limit || got.values().any(|got| *got >= each);
    let is_cut = usize::try_from(partners).is_ok_and(|partners| partners > request.limit.min(PARTNERS_MAX));
    Ok(request.turn.next(is_cut.then_some(&*last), true, is_hungry))
}

fn read(row: &QueryResult) -> Result<(Model, Option<DateTime<Utc>>), DbErr> {
    Ok((Model::from_query_result(row, "")?, row.try_get("", "callable_since")?))
}

/// The statement. The array is computed once, so that no more than `limit` rows are locked, and the planner looks up its ids
/// in the primary key whatever it believes about the table.
/// Public so that tests can read its query plan.
#[must_use]
pub fn statement(clock: &Clock, request: &ClaimRequest<'_>, lease_token: Uuid) -> Statement {
    let now = clock.postgres_now();
    let due = |partner: &str| {
        format!(
            "SELECT due.id FROM outbox_event due \
             WHERE due.destination = $1 AND due.status = 'pending' AND due.partner >= {partner} \
                 AND (due.partner, due.due_at) <= ({partner}, (SELECT now FROM gate)) AND (due.sequence = 1 OR NOT EXISTS (\
                     SELECT 1 FROM outbox_event earlier \
                     WHERE earlier.aggregate_id = due.aggregate_id AND earlier.destination = due.destination \
                         AND earlier.sequence < due.sequence AND NULLIF(earlier.status, '') IN ('pending', 'leased', 'dead') \
                     LIMIT 1 OFFSET 0)) \
             ORDER BY due.partner, due.due_at"
        )
    };
    let sql = format!(
        "WITH RECURSIVE {WALK}, gate AS MATERIALIZED (\
             SELECT at.now, greatest(d.callable_since, d.not_before) AS callable_since \
             FROM destination d, (SELECT {now} AS now) at WHERE d.name = $1 AND {OPEN_GATE}{open_lanes}), \
         found AS MATERIALIZED (\
             SELECT walk.partner FROM walk WHERE walk.partner IS NOT NULL AND EXISTS (\
                 SELECT 1 FROM outbox_event due WHERE due.destination = $1 AND due.status = 'pending' \
                     AND due.partner >= walk.partner \
                     AND (due.partner, due.due_at) <= (walk.partner, (SELECT now FROM gate)) \
                 ORDER BY due.partner, due.due_at LIMIT 1 OFFSET 0) \
             LIMIT least($6, {PARTNERS_MAX}) + 1), \
         turn AS MATERIALIZED (SELECT partner FROM found LIMIT least($6, {PARTNERS_MAX})), \
         share AS MATERIALIZED (\
             SELECT greatest($6 / greatest(count(*), $7), 1) AS each FROM turn), \
         equal AS MATERIALIZED (\
             SELECT turn.partner, due.id FROM turn CROSS JOIN LATERAL (\
                 {of_turn} LIMIT (SELECT each FROM share) FOR UPDATE OF due SKIP LOCKED) due), \
         hungry AS MATERIALIZED (\
             SELECT partner FROM equal GROUP BY partner HAVING count(*) >= (SELECT each FROM share)), \
         more AS MATERIALIZED (\
             SELECT due.id FROM hungry CROSS JOIN LATERAL (\
                 {of_hungry} LIMIT (SELECT (greatest($6 - (SELECT count(*) FROM equal), 0) + count(*) - 1) / greatest(count(*), 1) \
                     FROM hungry) OFFSET (SELECT each FROM share) FOR UPDATE OF due SKIP LOCKED) due) \
         UPDATE outbox_event e SET status = 'leased', attempts = e.attempts + 1, lease_token = $3, \
             leased_until = gate.now + $4 * interval '1 microsecond', leased_by = $5 \
         FROM gate WHERE e.id = ANY (ARRAY (\
             SELECT due.id FROM (SELECT id FROM equal UNION ALL SELECT id FROM more) due LIMIT $6)) \
         RETURNING {columns}, gate.callable_since, (SELECT each FROM share) AS each, (SELECT count(*) FROM found) AS partners, \
             (SELECT max(partner) FROM turn) AS last_partner",
        columns = columns(),
        open_lanes = all_closed(request.lanes),
        of_turn = due("turn.partner"),
        of_hungry = due("hungry.partner"),
    );
    let lease_microseconds = i64::try_from(request.lease.as_micros()).unwrap_or(i64::MAX);
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
    let partners_min = i64::try_from(request.turn.partners_min()).unwrap_or(i64::MAX);
    let values = [
        request.destination.as_str().into(),
        request.turn.from().into(),
        lease_token.into(),
        lease_microseconds.into(),
        request.worker.into(),
        limit.into(),
        partners_min.into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// The condition that no circuit of `lanes` is open. Names are of characters that need no quoting.
fn all_closed(lanes: &[Lane]) -> String {
    if lanes.is_empty() {
        return String::new();
    }
    let names = lanes.iter().map(|lane| format!("'{}'", lane.name)).collect::<Vec<_>>().join(", ");
    format!(
        " AND NOT EXISTS (SELECT 1 FROM destination lane WHERE lane.name IN ({names}) AND lane.circuit <> 'closed')"
    )
}
