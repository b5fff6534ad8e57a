//! Events as outsiders see them, over HTTP and on the command line alike.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, DbErr};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::why::why;
use crate::{
    database::Database,
    outbox::{Event, Failure, Lane, destinations},
    quotes::{Money, Summary, lanes_of, summaries},
};

/// An event in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Also the idempotency key of every attempt.
    pub id: Uuid,
    /// The quote that it is about.
    pub quote_id: Uuid,
    /// Whose quote it is; null if the quote is not stored.
    pub customer_id: Option<String>,
    /// What the quote amounts to.
    pub money: Option<Money>,
    /// For example `quote.submitted`.
    pub event_type: String,
    /// Where it goes.
    pub destination: String,
    /// Its place among the events of its quote for this destination, from 1.
    pub sequence: i32,
    /// `pending`, `leased`, `delivered`, `dead` or `cancelled`.
    pub status: String,
    /// Why it stands there, in a few words; `explain` says more.
    pub why: String,
    /// Attempts made since it was stored or last revived.
    pub attempts: i32,
    /// Not delivered before this time.
    pub due_at: DateTime<Utc>,
    /// The worker that delivers it, or delivered it.
    pub leased_by: Option<String>,
    /// When the worker's lease ends.
    pub leased_until: Option<DateTime<Utc>>,
    /// What its last failure has in common with others: outcome, HTTP status, and the error without ids and numbers.
    pub cause: Option<String>,
    /// The last failed attempt in one line.
    pub last_error: Option<String>,
    /// When an attempt failed last.
    pub failed_at: Option<DateTime<Utc>>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it became delivered, dead or cancelled.
    pub settled_at: Option<DateTime<Utc>>,
}

/// An event with its payload, its failures and what is kept of its delivery.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventDetail)]
pub struct EventDetail {
    /// What lists show.
    #[serde(flatten)]
    pub event: EventView,
    /// What the destination gets.
    pub payload: Value,
    /// W3C `traceparent` of the submission.
    pub trace_context: Option<String>,
    /// Where people see this trace, if `traces.link` says so.
    pub trace_url: Option<String>,
    /// An earlier attempt may have reached the destination: the next one looks up before it sends.
    pub outcome_unknown: bool,
    /// Given up while it was leased: no further attempt follows the running one.
    pub withdrawn: bool,
    /// When it was stored, or last revived: `retry.give_up_after` counts from here.
    pub live_since: DateTime<Utc>,
    /// What is kept of its delivery: `duration_ms`; with the fee server `status`, with Kafka `topic`, `partition`, `offset`.
    pub receipt: Option<Value>,
    /// The last 20 attempts that failed, oldest first.
    pub failures: Vec<Failure>,
}

impl EventView {
    fn new(event: Event, quote: Option<&Summary>, why: String) -> Self {
        Self {
            id: event.id,
            quote_id: event.aggregate_id,
            customer_id: quote.map(|quote| quote.customer_id.clone()),
            money: quote.map(|quote| quote.money.clone()),
            event_type: event.event_type,
            destination: event.destination,
            sequence: event.sequence,
            status: event.status.to_value(),
            why,
            attempts: event.attempts,
            due_at: event.due_at,
            leased_by: event.leased_by,
            leased_until: event.leased_until,
            cause: event.cause,
            last_error: event.last_error,
            failed_at: event.failed_at,
            created_at: event.created_at,
            settled_at: event.settled_at,
        }
    }
}

/// `events` as lists show them, in their order.
///
/// # Errors
/// Any database error.
pub async fn views(db: &Database, events: Vec<Event>) -> Result<Vec<EventView>, DbErr> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (connection, now) = (db.connection(), db.now(db.connection()).await?);
    let states = destinations(connection).await?;
    let quotes = summaries(connection, events.iter().map(|event| event.aggregate_id)).await?;
    let view = |event: Event| {
        let state = states.iter().find(|state| state.name == event.destination);
        let lane = Lane::of(lanes_of(&event.destination), &event.event_type);
        let lane = lane.and_then(|lane| states.iter().find(|state| state.name == lane.name));
        let why = why(&event, state, lane, now);
        let quote = quotes.get(&event.aggregate_id);
        EventView::new(event, quote, why)
    };
    Ok(events.into_iter().map(view).collect())
}

/// One event as lists show it.
///
/// # Errors
/// Any database error.
pub async fn view(db: &Database, event: Event) -> Result<EventView, DbErr> {
    let views = views(db, vec![event]).await?;
    views.into_iter().next().ok_or_else(|| DbErr::RecordNotFound("one event has one view".into()))
}

/// One event with its payload and its failures.
///
/// # Errors
/// Any database error.
pub async fn detail(db: &Database, mut event: Event) -> Result<EventDetail, DbErr> {
    Ok(EventDetail {
        failures: Failure::all(&event),
        payload: event.payload.take(),
        trace_context: event.trace_context.take(),
        trace_url: None,
        outcome_unknown: event.outcome_unknown,
        withdrawn: event.withdrawn,
        live_since: event.live_since,
        receipt: event.receipt.take(),
        event: view(db, event).await?,
    })
}
