//! Feebox's names: where its quotes go, and what its events are about.

use crate::{
    outbox::{AggregateType, DestinationName, EventType, Lane},
    settings::QuoteDestination,
};

/// The destination that makes fees.
pub static FEE_SERVER: DestinationName = DestinationName::from_static("fee-server");
/// The destination that tells others.
pub static KAFKA: DestinationName = DestinationName::from_static("kafka");
/// All destinations that Feebox has.
pub static DESTINATIONS: [&DestinationName; 2] = [&FEE_SERVER, &KAFKA];

/// What kind of thing Feebox's events are about.
pub const QUOTE: AggregateType = AggregateType::from_static("quote");

/// A quote was stored. The event hands it to its destination.
pub static QUOTE_SUBMITTED: EventType = EventType::from_static("quote.submitted");
/// The quote has a fee record.
pub static FEE_CREATED: EventType = EventType::from_static("fee.created");
/// The fee server refused the quote.
pub static QUOTE_REJECTED: EventType = EventType::from_static("quote.rejected");
/// The quote was cancelled. At the fee server the event voids its fee.
pub static QUOTE_CANCELLED: EventType = EventType::from_static("quote.cancelled");

/// Kafka's topics, each with a circuit of its own. The name after the stroke is the topic's.
pub static TOPICS: [Lane; 2] = [
    Lane {
        name: DestinationName::from_static("kafka/feebox.quotes"),
        event_types: &[&QUOTE_SUBMITTED, &QUOTE_REJECTED, &QUOTE_CANCELLED],
    },
    Lane { name: DestinationName::from_static("kafka/feebox.fees"), event_types: &[&FEE_CREATED] },
];

/// The lanes of `destination`.
#[must_use]
pub fn lanes_of(destination: &str) -> &'static [Lane] {
    if destination == KAFKA.as_str() { &TOPICS } else { &[] }
}

/// Whether `name` is that of a lane, which has a circuit and no events of its own.
#[must_use]
pub fn is_lane(name: &str) -> bool {
    DESTINATIONS.iter().flat_map(|destination| lanes_of(destination)).any(|lane| lane.name.as_str() == name)
}

/// What Feebox's events are about, for those who match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteEvent {
    /// [`QUOTE_SUBMITTED`]
    Submitted,
    /// [`FEE_CREATED`]
    FeeCreated,
    /// [`QUOTE_REJECTED`]
    Rejected,
    /// [`QUOTE_CANCELLED`]
    Cancelled,
}

impl QuoteEvent {
    /// What `event_type` stands for, if it is one of Feebox's.
    #[must_use]
    pub fn of(event_type: &EventType) -> Option<Self> {
        let all = [
            (&QUOTE_SUBMITTED, Self::Submitted),
            (&FEE_CREATED, Self::FeeCreated),
            (&QUOTE_REJECTED, Self::Rejected),
            (&QUOTE_CANCELLED, Self::Cancelled),
        ];
        all.into_iter().find(|(name, _)| *name == event_type).map(|(_, event)| event)
    }
}

impl QuoteDestination {
    /// The destination that `name` names, if a quote can be decided there.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::FeeServer, Self::Kafka].into_iter().find(|destination| **destination.name() == *name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static DestinationName {
        match self {
            Self::FeeServer => &FEE_SERVER,
            Self::Kafka => &KAFKA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_text() {
        assert_eq!(QuoteEvent::of(&"fee.created".to_owned().try_into().expect("a name")), Some(QuoteEvent::FeeCreated));
        assert_eq!(QuoteEvent::of(&EventType::from_static("fee.paid")), None);
        assert_eq!(
            DESTINATIONS.map(|name| QuoteDestination::of(name).map(QuoteDestination::name)),
            DESTINATIONS.map(Some)
        );
        assert_eq!(QuoteDestination::of("elsewhere"), None);
        assert!(is_lane("kafka/feebox.fees") && !is_lane("kafka") && !is_lane("fee-server"));
    }
}
