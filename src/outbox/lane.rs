//! Parts of a destination that fail by themselves.

use super::{DestinationName, EventType};

/// A part of a destination, for events of some types: at Kafka a topic. It has a circuit of its own under its own name. Pauses,
/// limits and the order of a quote's events are the destination's.
#[derive(Debug)]
pub struct Lane {
    /// The name of its circuit, for example `kafka/feebox.quotes`.
    pub name: DestinationName,
    /// The types of the events that it takes.
    pub event_types: &'static [&'static EventType],
}

impl Lane {
    /// The one of `lanes` that takes events of `event_type`.
    #[must_use]
    pub fn of<'a>(lanes: &'a [Self], event_type: &str) -> Option<&'a Self> {
        lanes.iter().find(|lane| lane.event_types.iter().any(|taken| taken.as_str() == event_type))
    }
}
