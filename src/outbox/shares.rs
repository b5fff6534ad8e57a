//! What a claim takes: equal shares of the partners whose turn it is.

use chrono::{DateTime, Utc};
use entity::outbox_event;
use sea_orm::{ConnectionTrait, DbErr, QuerySelect};

use super::{
    ClaimRequest,
    claim::due,
    held_lanes::HeldLanes,
    turns::{PARTNERS_MAX, Turn, partners},
    unreadable::readable,
};
use crate::database::DatabaseTransaction;

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

/// Up to `limit` due events of the partners whose turn it is.
pub(super) async fn shares(
    txn: &DatabaseTransaction,
    request: &ClaimRequest<'_>,
    lanes: &HeldLanes,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<Shares, DbErr> {
    let (backend, destination) = (txn.get_database_backend(), request.destination.as_str());
    let found = partners(txn, destination, now, &request.turn, limit.min(PARTNERS_MAX)).await?;
    let each = request.turn.share(limit, found.names.len());
    let (mut all, mut given_up, mut hungry) = (Vec::new(), 0, Vec::new());
    for partner in &found.names {
        let share = each.min(limit - all.len());
        let of_partner = lanes.pass(due(backend, destination, partner, now, share));
        let of_partner = readable(txn, of_partner, now).await?;
        if of_partner.rows.len() + of_partner.given_up == share {
            hungry.push((partner, of_partner.rows.len()));
        }
        given_up += of_partner.given_up;
        all.extend(of_partner.rows);
    }
    let is_hungry = !hungry.is_empty();
    let more = (limit - all.len()).div_ceil(hungry.len().max(1));
    for (partner, has) in hungry {
        let more = more.min(limit - all.len());
        if more > 0 && found.names.len() > 1 {
            let rest = lanes.pass(due(backend, destination, partner, now, more)).offset(has as u64);
            let rest = readable(txn, rest, now).await?;
            given_up += rest.given_up;
            all.extend(rest.rows);
        }
    }
    all.sort_unstable_by_key(|event| (event.due_at, event.id));
    let (is_full, next_turn) = request.turn.next(found.last.as_deref(), !all.is_empty(), is_hungry);
    Ok(Shares { partners: found.names, due: all, given_up, is_full, next_turn })
}
