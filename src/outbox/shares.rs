//! What a claim takes: equal shares of the partners whose turn it is.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::outbox_event;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QuerySelect, Statement};
use serde_json::json;

use super::{
    ClaimRequest,
    claim::due,
    held_lanes::HeldLanes,
    turns::{PARTNERS_MAX, Turn, partners},
    unreadable::{Readable, readable_by, readable_together},
};
use crate::database::DatabaseTransaction;

/// A part of a claim that is not worth statements of its own: what rounding leaves.
const ROUNDED_OFF: usize = 10;

/// What a claim takes.
pub(super) struct Shares {
    /// Those whose turn it was.
    pub(super) partners: Vec<String>,
    /// The longest due first.
    pub(super) due: Vec<outbox_event::Model>,
    pub(super) given_up: usize,
    pub(super) is_full: bool,
    pub(super) next_turn: Turn,
}

/// Up to `limit` due events of the partners whose turn it is, and a few more where that does not divide.
pub(super) async fn shares(
    txn: &DatabaseTransaction,
    request: &ClaimRequest<'_>,
    lanes: &HeldLanes,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<Shares, DbErr> {
    let (backend, destination) = (txn.get_database_backend(), request.destination.as_str());
    let found = partners(txn, destination, now, &request.turn, limit.min(PARTNERS_MAX)).await?.served();
    let each = request.turn.share(limit, found.names.len());
    // So many of each, behind the first `from`.
    let of_each = async |partners: &[String], from: usize, each: usize| {
        if backend == DbBackend::Sqlite {
            let held = lanes.types();
            return readable_by(
                txn,
                |columns| equal_shares(columns, destination, &held, partners, now, from, each),
                now,
            )
            .await;
        }
        let of_partner = |partner: &String| {
            let rows = lanes.pass(due(backend, destination, partner, now, each));
            if from > 0 { rows.offset(from as u64) } else { rows }
        };
        readable_together(txn, partners.iter().map(of_partner).collect(), now).await
    };
    let Readable { rows: mut all, given_up } = of_each(&found.names, 0, each).await?;
    let mut got: HashMap<&str, usize> = HashMap::new();
    for event in &all {
        *got.entry(&event.partner).or_default() += 1;
    }
    // One that cannot be read may be anybody's.
    let is_hungry = |partner: &&String| given_up > 0 || got.get(partner.as_str()).is_some_and(|got| *got >= each);
    let mut hungry: Vec<_> = found.names.iter().filter(is_hungry).cloned().collect();
    let is_hungry = !hungry.is_empty();
    let room = limit.saturating_sub(all.len());
    // What was given up is no longer in front of the others: the next claim finds them.
    if is_hungry && given_up == 0 && found.names.len() > 1 && room >= (limit / ROUNDED_OFF).max(1) {
        let more = room.div_ceil(hungry.len());
        hungry.truncate(room.div_ceil(more));
        let rest = of_each(&hungry, each, more).await?;
        all.extend(rest.rows);
    }
    all.sort_unstable_by_key(|event| (event.due_at, event.id));
    let (is_full, next_turn) = request.turn.next(found.last.as_deref(), !all.is_empty(), is_hungry);
    Ok(Shares { partners: found.names, due: all, given_up, is_full, next_turn })
}

/// `SQLite`'s statement for up to `each` due events of each of the `partners`, behind the first `from`, but for those of the types `held`.
/// Its text is the same for any number of partners, so that it is prepared once. Public so that tests can read its query plan.
#[must_use]
pub fn equal_shares(
    columns: &str,
    destination: &str,
    held: &[&str],
    partners: &[String],
    now: DateTime<Utc>,
    from: usize,
    each: usize,
) -> Statement {
    let held = held.iter().fold(String::new(), |held, event_type| held + " AND due.event_type <> '" + event_type + "'");
    let sql = format!(
        "SELECT {columns} FROM json_each($1) turn CROSS JOIN outbox_event e WHERE e.rowid IN (\
             SELECT due.rowid FROM outbox_event due \
             WHERE due.destination = $2 AND due.status = 'pending' AND due.partner >= turn.value \
                 AND (due.partner, due.due_at) <= (turn.value, $3){held} AND (due.sequence = 1 OR NOT EXISTS (\
                     SELECT 1 FROM outbox_event earlier \
                     WHERE earlier.aggregate_id = due.aggregate_id AND earlier.destination = due.destination \
                         AND earlier.sequence < due.sequence AND earlier.status IN ('pending', 'leased', 'dead') \
                     LIMIT 1 OFFSET 0)) \
             ORDER BY due.partner, due.due_at LIMIT $4 OFFSET $5)"
    );
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let values = [json!(partners).into(), destination.into(), now.into(), number(each).into(), number(from).into()];
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}
