//! Whom a strategy calls.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    destination::{Delivery, FeeServer},
    fees::Fee,
    outbox::{DestinationName, Outcome},
    quotes::{FEE_SERVER, Quote},
    submission::fee_request,
};

/// A destination, called without an outbox.
#[derive(Clone)]
pub enum Target {
    /// It makes fees.
    FeeServer(Arc<FeeServer>),
    /// It is told of submitted quotes.
    #[cfg(feature = "kafka")]
    Kafka(Arc<crate::destination::Kafka>),
}

/// What a destination hands back for a quote that it has taken.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    /// Its fee.
    Fee(Fee),
    /// All in-sync replicas have the record.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "Kafka alone hands it back"))]
    Record,
}

impl Taken {
    /// What is to be stored of it.
    pub(super) fn fee(&self) -> Option<&Fee> {
        match self {
            Self::Fee(fee) => Some(fee),
            Self::Record => None,
        }
    }
}

impl Target {
    pub(super) fn name(&self) -> &'static DestinationName {
        match self {
            Self::FeeServer(_) => &FEE_SERVER,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => &crate::quotes::KAFKA,
        }
    }

    /// What it gets to see of a submitted quote.
    pub(super) fn payload(&self, quote: &Quote) -> Value {
        match self {
            Self::FeeServer(_) => fee_request(quote),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => crate::relay::What::Submitted(quote).payload(quote.submitted_at),
        }
    }

    /// Whether a call of which nobody knows what came of it may be made again. The fee server is asked first, and honours
    /// keys. A record would be a second one: what is safe to repeat, Kafka's client has repeated by then.
    pub(super) fn may_be_called_again(&self) -> bool {
        matches!(self, Self::FeeServer(_))
    }

    pub(super) async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<Taken> {
        match self {
            Self::FeeServer(fee_server) => fee_server.make_fee(delivery).await.map(|(_, fee)| Taken::Fee(fee)),
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.hand_over(delivery).await.map(|_| Taken::Record),
        }
    }
}
