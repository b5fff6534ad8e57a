//! Cancelling many events in one transaction, each as [`super::cancel()`] does it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, DbErr};
use serde_json::json;
use uuid::Uuid;

use super::{Operator, actions, actions::NewAction};
use crate::{
    database::DatabaseTransaction,
    outbox::{self, Event, EventStatus, Withdrawn},
    quotes::{self, LockedQuote, Relay, Status, is_handover},
};

/// Cancels those of events `ids` whose state allows it, and with each handover its quote; returns how many. The number of
/// statements does not depend on the number of events.
///
/// # Errors
/// Any database error; roll back.
pub(super) async fn cancel_many(
    txn: &DatabaseTransaction,
    relay: Relay,
    operator: Operator<'_>,
    ids: &[Uuid],
    now: DateTime<Utc>,
    bulk_id: Uuid,
) -> Result<usize, DbErr> {
    // Events before quotes, in the order in which settling takes its locks.
    let events = outbox::lock_to_give_up(txn, ids).await?;
    let handovers = events.iter().filter(|event| is_handover(&event.event_type));
    let quotes = quotes::lock_all(txn, handovers.map(|event| event.aggregate_id)).await?;
    let plan = Plan::of(ids, &events, &quotes);
    outbox::end_all(txn, plan.ended.iter().copied(), now).await?;
    outbox::unpark_after(txn, &plan.alone, now).await?;
    let why = operator.reason.map_or_else(|| format!("given up by {}", operator.name), str::to_owned);
    quotes::cancel_all(txn, relay, &plan.quotes, operator.name, &why, now).await?;
    let each = plan.given_up.iter().map(|event| NewAction {
        action: actions::GIVE_UP,
        target: event.id.to_string(),
        quote_id: Some(event.aggregate_id),
        details: json!({
            "bulk_id": bulk_id,
            "status_before": event.status.to_value(),
            "attempts_before": event.attempts,
            "event_type": event.event_type,
            "destination": event.destination,
        }),
    });
    actions::record(txn, operator, now, each.collect()).await?;
    Ok(plan.given_up.len())
}

/// What is done to whom. Nobody else changes these rows meanwhile: they are locked.
#[derive(Default)]
struct Plan<'a> {
    /// Events that are given up because they were named.
    given_up: Vec<&'a Event>,
    /// Those of them that take no other with them.
    alone: Vec<&'a Event>,
    /// Quotes that are cancelled.
    quotes: Vec<(&'a LockedQuote, Withdrawn)>,
    /// All events that end, also those of cancelled quotes.
    ended: Vec<&'a Event>,
}

impl<'a> Plan<'a> {
    fn of(ids: &[Uuid], events: &'a [Event], quotes: &'a HashMap<Uuid, LockedQuote>) -> Self {
        let by_id: HashMap<_, _> = events.iter().map(|event| (event.id, event)).collect();
        let mut lines: HashMap<_, Vec<&Event>> = HashMap::new();
        for event in events {
            lines.entry((event.aggregate_id, event.destination.as_str())).or_default().push(event);
        }
        let (mut plan, mut over) = (Self::default(), HashSet::new());
        for event in ids.iter().filter_map(|id| by_id.get(id).copied()) {
            if !is_open(event) || over.contains(&event.id) {
                continue;
            }
            let its = quotes.get(&event.aggregate_id).filter(|quote| hands_over(event, quote));
            match its {
                Some(quote) if quote.status == Status::Cancelled => continue,
                Some(quote) => {
                    let line = &lines[&(event.aggregate_id, event.destination.as_str())];
                    plan.quotes.push((quote, Withdrawn::of(line)));
                    plan.ended.extend(line.iter().filter(|event| over.insert(event.id)));
                }
                None => {
                    over.insert(event.id);
                    plan.ended.push(event);
                    plan.alone.push(event);
                }
            }
            plan.given_up.push(event);
        }
        plan
    }
}

fn is_open(event: &Event) -> bool {
    matches!(event.status, EventStatus::Pending | EventStatus::Leased | EventStatus::Dead)
}

fn hands_over(event: &Event, quote: &LockedQuote) -> bool {
    is_handover(&event.event_type) && event.destination == *quote.destination.name()
}
