//! Everything that happened to a quote, in order of time: what it left in the tables, and what operators did.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    database::Database,
    operator::{Action, ActionFilter, actions},
    outbox::{self, CircuitOpening, Event, EventStatus, Failure, Lane},
    quotes::{self, QuoteWithFee, Status, lanes_of, money::minor_unit_digits},
};

/// The most operator actions that are shown.
const ACTIONS_MAX: u64 = 1_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TimelineEntry {
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub event: TimelineEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the tables")]
pub enum TimelineEvent {
    /// The quote was stored.
    Submitted {
        currency: String,
        minor_unit_digits: u16,
        amount_minor: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// An event for a destination was stored.
    EventStored { event_id: Uuid, event_type: String, destination: String },
    /// An attempt failed. `status` is the HTTP status, if one was answered.
    AttemptFailed {
        event_id: Uuid,
        event_type: String,
        destination: String,
        attempt: i32,
        outcome: String,
        status: Option<u16>,
        error: String,
        duration_ms: u64,
        by: String,
    },
    /// The destination has the event, since this attempt. `status` is the HTTP status that it answered, `receipt` what else
    /// it handed back: Kafka's topic, partition and offset.
    Delivered {
        event_id: Uuid,
        event_type: String,
        destination: String,
        attempt: i32,
        status: Option<u16>,
        duration_ms: Option<u64>,
        by: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<Value>,
    },
    /// The event was given up by policy.
    Dead { event_id: Uuid, event_type: String, destination: String, error: Option<String> },
    /// The event was given up on purpose.
    GivenUp { event_id: Uuid, event_type: String, destination: String },
    /// The quote got its fee.
    FeeRecorded {
        fee_id: String,
        currency: String,
        minor_unit_digits: u16,
        amount_minor: i64,
        rate_bps: i32,
        calculated_at: DateTime<Utc>,
    },
    /// The fee server refused the quote for good.
    Rejected { reason: Option<String> },
    /// The quote was taken back. `by` is the name of a token, or of the part of Feebox that did it.
    Cancelled { reason: Option<String>, by: Option<String> },
    /// A destination of the quote was failing: from here on one probe at a time went out. That may have been before the
    /// quote was submitted.
    CircuitOpened { destination: String, reason: Option<String> },
    /// A probe to the destination was delivered, and all else could go out.
    CircuitClosed { destination: String },
    /// An operator did something to one of its events or to a destination, while the quote lived.
    OperatorAction { actor: String, action: String, target: String, reason: Option<String>, details: Value },
}

/// The timeline of quote `id`, if there is such a quote. Attempts before the last 20 failed ones, and events that
/// retention deleted, are missing.
///
/// # Errors
/// Any database error.
pub async fn timeline(db: &Database, id: Uuid) -> Result<Option<Vec<TimelineEntry>>, DbErr> {
    let txn = db.snapshot().await?;
    let now = db.now(&*txn).await?;
    let Some(quote) = quotes::get(&*txn, id).await? else {
        return Ok(None);
    };
    let events = outbox::of_aggregate(&*txn, id).await?;
    let (born, ended) = (quote.quote.submitted_at, end_of_life(&quote, &events).unwrap_or(now));
    let mut names: Vec<_> = events.iter().map(|event| event.destination.as_str()).collect();
    names.dedup();
    let lanes = events.iter().filter_map(|event| Lane::of(lanes_of(&event.destination), &event.event_type));
    let circuits: BTreeSet<_> = names.iter().copied().chain(lanes.map(|lane| lane.name.as_str())).collect();
    let circuits: Vec<_> = circuits.into_iter().collect();

    // Stable: what happened at once stays in this order, that of cause and effect.
    let mut entries = vec![submitted(&quote)];
    let filter = ActionFilter { quote_id: Some(id), before: None };
    entries.extend(actions::list(&*txn, &filter, ACTIONS_MAX).await?.rows.into_iter().rev().map(of_action));
    entries.extend(actions::pauses(&*txn, &names, born, ended, ACTIONS_MAX).await?.into_iter().map(of_action));
    let by = quote.quote.cancelled_by.clone();
    entries.extend(ended_in(&quote, Status::Cancelled, |reason| TimelineEvent::Cancelled { reason, by }));
    entries.extend(events.iter().flat_map(of_event));
    entries.extend(fee_recorded(&quote));
    entries.extend(ended_in(&quote, Status::Rejected, |reason| TimelineEvent::Rejected { reason }));
    entries.extend(outbox::circuit_openings(&*txn, &circuits, born, ended).await?.into_iter().flat_map(of_circuit));
    // A circuit that was closed later than the quote's end is nothing that happened to it.
    entries.retain(|entry| entry.at <= ended || !matches!(entry.event, TimelineEvent::CircuitClosed { .. }));
    entries.sort_by_key(|entry| entry.at);
    Ok(Some(entries))
}

/// When the last of its events was settled; `None` while one is not.
fn end_of_life(quote: &QuoteWithFee, events: &[Event]) -> Option<DateTime<Utc>> {
    let live = events.iter().any(|event| matches!(event.status, EventStatus::Pending | EventStatus::Leased));
    let settled = events.iter().filter_map(|event| event.settled_at).max();
    if live { None } else { Some(settled.unwrap_or(quote.quote.updated_at)) }
}

fn submitted(QuoteWithFee { quote, .. }: &QuoteWithFee) -> TimelineEntry {
    let event = TimelineEvent::Submitted {
        currency: quote.currency.clone(),
        minor_unit_digits: minor_unit_digits(&quote.currency),
        amount_minor: quote.amount_minor,
        by: quote.submitted_by.clone(),
    };
    TimelineEntry { at: quote.submitted_at, event }
}

/// How the quote ended, if it ended in `status`.
fn ended_in(
    QuoteWithFee { quote, .. }: &QuoteWithFee,
    status: Status,
    event: impl FnOnce(Option<String>) -> TimelineEvent,
) -> Option<TimelineEntry> {
    let entry = || TimelineEntry { at: quote.updated_at, event: event(quote.status_reason.clone()) };
    (quote.status == status).then(entry)
}

fn fee_recorded(QuoteWithFee { fee, .. }: &QuoteWithFee) -> Option<TimelineEntry> {
    let fee = fee.as_ref()?;
    let event = TimelineEvent::FeeRecorded {
        fee_id: fee.fee_id.clone(),
        currency: fee.currency.clone(),
        minor_unit_digits: minor_unit_digits(&fee.currency),
        amount_minor: fee.amount_minor,
        rate_bps: fee.rate_bps,
        calculated_at: fee.calculated_at,
    };
    Some(TimelineEntry { at: fee.created_at, event })
}

fn of_event(event: &Event) -> Vec<TimelineEntry> {
    let named = || (event.id, event.event_type.clone(), event.destination.clone());
    let (event_id, event_type, destination) = named();
    let stored = TimelineEvent::EventStored { event_id, event_type, destination };
    let mut entries = vec![TimelineEntry { at: event.created_at, event: stored }];
    entries.extend(Failure::all(event).into_iter().map(|failure| {
        let (status, (event_id, event_type, destination)) = (failure.status(), named());
        let Failure { attempt, outcome, error, at, duration_ms, by, .. } = failure;
        let event = TimelineEvent::AttemptFailed {
            event_id,
            event_type,
            destination,
            attempt,
            outcome,
            status,
            error,
            duration_ms,
            by,
        };
        TimelineEntry { at, event }
    }));
    let (event_id, event_type, destination) = named();
    let end = match event.status {
        EventStatus::Pending | EventStatus::Leased => return entries,
        EventStatus::Delivered => {
            let (attempt, by) = (event.attempts, event.leased_by.clone());
            let mut receipt = event.receipt.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
            let duration_ms = receipt.remove("duration_ms").and_then(|duration| duration.as_u64());
            let status = receipt.remove("status").and_then(|status| status.as_u64()?.try_into().ok());
            let receipt = (!receipt.is_empty()).then_some(Value::Object(receipt));
            TimelineEvent::Delivered { event_id, event_type, destination, attempt, status, duration_ms, by, receipt }
        }
        EventStatus::Dead => TimelineEvent::Dead { event_id, event_type, destination, error: event.last_error.clone() },
        EventStatus::Cancelled => TimelineEvent::GivenUp { event_id, event_type, destination },
    };
    entries.extend(event.settled_at.map(|at| TimelineEntry { at, event: end }));
    entries
}

fn of_circuit(opening: CircuitOpening) -> Vec<TimelineEntry> {
    let CircuitOpening { destination, opened_at, closed_at, reason, .. } = opening;
    let closed = closed_at
        .map(|at| TimelineEntry { at, event: TimelineEvent::CircuitClosed { destination: destination.clone() } });
    let opened = TimelineEntry { at: opened_at, event: TimelineEvent::CircuitOpened { destination, reason } };
    std::iter::once(opened).chain(closed).collect()
}

fn of_action(action: Action) -> TimelineEntry {
    let Action { actor, action, target, reason, details, created_at: at, .. } = action;
    TimelineEntry { at, event: TimelineEvent::OperatorAction { actor, action, target, reason, details } }
}
