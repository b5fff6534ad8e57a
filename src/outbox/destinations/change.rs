//! Changes of a destination's state that are worth a line of the log.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};

/// A hold that grows by less is no news.
const HELD_LONGER: Duration = Duration::from_secs(1);

/// What changed about a destination, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationChange {
    /// Its circuit opened, for this reason.
    CircuitOpened(Option<String>),
    /// A probe closed its circuit.
    CircuitClosed,
    /// It asked not to be called before this time.
    HeldUntil(DateTime<Utc>),
}

impl DestinationChange {
    pub(super) fn between(before: &destination::Model, after: &destination::Model) -> Option<Self> {
        match (before.circuit, after.circuit) {
            (Circuit::Closed, Circuit::Open) => Some(Self::CircuitOpened(after.circuit_reason.clone())),
            (Circuit::Open, Circuit::Closed) => Some(Self::CircuitClosed),
            // An answer after the other asks for a little more.
            _ => after.not_before.filter(|until| before.not_before < Some(*until - HELD_LONGER)).map(Self::HeldUntil),
        }
    }
}
