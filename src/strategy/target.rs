//! What a strategy calls.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    destination::{Delivery, FeeServer},
    outbox::Outcome,
    quotes::{Fee, Quote, QuoteDestination},
    submission::fee_request,
};

/// A destination, called without an outbox.
#[derive(Clone)]
pub(super) enum Target {
    /// It makes fees.
    FeeServer(Arc<FeeServer>),
    /// It publishes submitted quotes.
    #[cfg(feature = "kafka")]
    Kafka(Arc<crate::destination::Kafka>),
}

/// The answer of a destination that accepted a quote.
#[derive(Clone, Debug)]
pub(super) enum Acceptance {
    /// Its fee.
    Fee(Fee),
    /// All in-sync replicas have the record.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "Kafka alone hands it back"))]
    Record,
}

impl Acceptance {
    /// The fee, if the destination makes fees.
    pub(super) fn fee(&self) -> Option<&Fee> {
        match self {
            Self::Fee(fee) => Some(fee),
            Self::Record => None,
        }
    }
}

impl Target {
    /// Which of the quotes' destinations it is.
    pub(super) fn destination(&self) -> QuoteDestination {
        match self {
            Self::FeeServer(_) => QuoteDestination::FeeServer,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => QuoteDestination::Kafka,
        }
    }

    /// What it gets of a submitted quote.
    pub(super) fn payload(&self, quote: &Quote) -> Value {
        match self {
            Self::FeeServer(_) => fee_request(quote),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => crate::quotes::Change::Submitted(quote).payload(quote.submitted_at),
        }
    }

    /// Whether a call with an unknown outcome may be repeated. At the fee server the fee is looked up first, and it honours
    /// keys. At Kafka it would be a second record: what is safe to repeat, Kafka's client has repeated by then.
    pub(super) fn may_be_called_again(&self) -> bool {
        matches!(self, Self::FeeServer(_))
    }

    pub(super) async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<Acceptance> {
        match self {
            Self::FeeServer(fee_server) => fee_server.make_fee(delivery).await.map(|(_, fee)| Acceptance::Fee(fee)),
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.hand_over(delivery).await.map(|_| Acceptance::Record),
        }
    }
}
