//! Feebox's names: where its quotes go, and what its events are about.

use crate::{
    outbox::{DestinationName, EventType},
    settings::QuoteDestination,
};

/// The destination that makes fees.
pub static FEE_SERVER: DestinationName = DestinationName::from_static("fee-server");
/// The destination that tells others.
pub static KAFKA: DestinationName = DestinationName::from_static("kafka");
/// All destinations that Feebox has.
pub static DESTINATIONS: [&DestinationName; 2] = [&FEE_SERVER, &KAFKA];

/// What kind of thing Feebox's events are about.
pub const QUOTE: &str = "quote";

/// A quote was stored. The event hands it to its destination.
pub static QUOTE_SUBMITTED: EventType = EventType::from_static("quote.submitted");
/// The quote has a fee record.
pub static FEE_CREATED: EventType = EventType::from_static("fee.created");
/// The fee server refused the quote.
pub static QUOTE_REJECTED: EventType = EventType::from_static("quote.rejected");
/// The quote was cancelled. At the fee server the event voids its fee.
pub static QUOTE_CANCELLED: EventType = EventType::from_static("quote.cancelled");

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
    /// The event that `event_type` names, if it is one of Feebox's.
    #[must_use]
    pub fn of(event_type: &EventType) -> Option<Self> {
        let all = [Self::Submitted, Self::FeeCreated, Self::Rejected, Self::Cancelled];
        all.into_iter().find(|event| event.event_type() == event_type)
    }

    /// Its name.
    #[must_use]
    pub fn event_type(self) -> &'static EventType {
        match self {
            Self::Submitted => &QUOTE_SUBMITTED,
            Self::FeeCreated => &FEE_CREATED,
            Self::Rejected => &QUOTE_REJECTED,
            Self::Cancelled => &QUOTE_CANCELLED,
        }
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
        for event in [QuoteEvent::Submitted, QuoteEvent::FeeCreated, QuoteEvent::Rejected, QuoteEvent::Cancelled] {
            assert_eq!(QuoteEvent::of(event.event_type()), Some(event));
        }
        assert_eq!(
            DESTINATIONS.map(|name| QuoteDestination::of(&name).map(QuoteDestination::name)),
            DESTINATIONS.map(Some)
        );
        assert_eq!(QuoteDestination::of("elsewhere"), None);
    }
}
