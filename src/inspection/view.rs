//! Events as outsiders see them, over HTTP and on the command line alike.

use chrono::{DateTime, Utc};
use sea_orm::ActiveEnum;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::outbox::{Event, Failure};

/// An event in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Also the idempotency key of every attempt.
    pub id: Uuid,
    /// The quote that it is about.
    pub quote_id: Uuid,
    /// For example `quote.submitted`.
    pub event_type: String,
    /// Where it goes.
    pub destination: String,
    /// Its place among the events of its quote for this destination, from 1.
    pub sequence: i32,
    /// `pending`, `leased`, `delivered`, `dead` or `cancelled`.
    pub status: String,
    /// Attempts made since it was stored or last revived.
    pub attempts: i32,
    /// Not delivered before this time.
    pub due_at: DateTime<Utc>,
    /// The worker that delivers it, or delivered it.
    pub leased_by: Option<String>,
    /// When the worker's lease ends.
    pub leased_until: Option<DateTime<Utc>>,
    /// The last failed attempt in one line.
    pub last_error: Option<String>,
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

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            quote_id: event.aggregate_id,
            event_type: event.event_type,
            destination: event.destination,
            sequence: event.sequence,
            status: event.status.to_value(),
            attempts: event.attempts,
            due_at: event.due_at,
            leased_by: event.leased_by,
            leased_until: event.leased_until,
            last_error: event.last_error,
            created_at: event.created_at,
            settled_at: event.settled_at,
        }
    }
}

impl From<Event> for EventDetail {
    fn from(mut event: Event) -> Self {
        Self {
            failures: Failure::all(&event),
            payload: event.payload.take(),
            trace_context: event.trace_context.take(),
            outcome_unknown: event.outcome_unknown,
            withdrawn: event.withdrawn,
            live_since: event.live_since,
            receipt: event.receipt.take(),
            event: event.into(),
        }
    }
}
