//! What a destination sees of an event, with an outbox and without.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::outbox::{EventType, LeasedEvent};

/// An event of the outbox, or what a strategy sends without one.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The idempotency key: the same at every attempt.
    pub id: Uuid,
    /// The quote that it is about.
    pub quote_id: Uuid,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// What it is about.
    pub event_type: &'a EventType,
    /// What the destination gets.
    pub payload: &'a Value,
    /// W3C `traceparent` of the call that caused it.
    pub trace_context: Option<&'a str>,
    /// An earlier attempt may have reached the destination: look up before sending.
    pub outcome_unknown: bool,
}

impl<'a> From<&'a LeasedEvent> for Delivery<'a> {
    fn from(event: &'a LeasedEvent) -> Self {
        Self {
            id: event.id,
            quote_id: event.aggregate_id,
            created_at: event.created_at,
            event_type: &event.event_type,
            payload: &event.payload,
            trace_context: event.trace_context.as_deref(),
            outcome_unknown: event.outcome_unknown,
        }
    }
}
