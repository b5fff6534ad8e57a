//! Where events go: a port with exact promises.

mod delivery;
mod fee_server;
#[cfg(feature = "kafka")]
pub mod kafka;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::{
    database::DatabaseTransaction,
    outbox::{self, DestinationName, Disposition, Lane, LeasedEvent, Outcome, Settled},
    quotes::{self, Accepted, Fee, QuoteDestination, Refused, Relay, is_handover},
};

pub use delivery::Delivery;
pub use fee_server::{FeePage, FeeServer, FeeServerError, FeeServerReceipt, LedgerError, ListedFee};
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaClientError, KafkaReadError, KafkaReader, KafkaReceipt, QuoteRecord};

/// Why a destination's client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The fee server's settings are not usable.
    #[error("the fee server's client cannot be built")]
    FeeServer(#[from] FeeServerError),
    /// The Kafka client does not take its settings.
    #[cfg(feature = "kafka")]
    #[error("the Kafka client cannot be built")]
    Kafka(#[from] KafkaClientError),
}

/// Passes on to their quotes what settled deliveries say: that the destination accepted them, or refused them for good. `fee`
/// is the fee in a receipt. Of other events than those that hand a quote over nothing follows: they were news.
async fn pass_on<R>(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    settled: &[Settled<'_, R>],
    fee: fn(&R) -> Option<&Fee>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (attempt, became) in settled.iter().filter(|(attempt, _)| is_handover(&attempt.event.event_type)) {
        let event = &attempt.event;
        let (quote_id, partner) = (event.aggregate_id, event.partner.as_str());
        let trace_context = event.trace_context.as_deref();
        match (became, &attempt.outcome) {
            (Disposition::Delivered, Outcome::Delivered(receipt)) => {
                accepted.push(Accepted { quote_id, key: event.id, fee: fee(receipt), partner, trace_context });
            }
            (Disposition::Dead(_), Outcome::Refused(reason)) => {
                refused.push(Refused { quote_id, reason, partner, trace_context });
            }
            _ => {}
        }
    }
    quotes::confirm(txn, relay, destination, &accepted, now).await?;
    quotes::reject(txn, relay, destination, &refused, now).await
}

/// A place that takes events.
///
/// [`deliver`](Self::deliver) promises:
/// * It never reports that nothing happened when it cannot know: that is [`Outcome::Unknown`].
/// * Every attempt of an event carries the event's id as its idempotency key.
///
/// [`apply`](Self::apply) stores what commits together with the settled events.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// What a delivery hands back, for example the fee.
    type Receipt: outbox::Receipt + Send + Sync + 'static;

    /// The name that events carry in `destination`.
    fn name(&self) -> &'static DestinationName;

    /// Its parts that have circuits of their own.
    fn lanes(&self) -> &'static [Lane] {
        &[]
    }

    /// How long a delivery may wait for its answer, if that is longer than what a part of `worker.lease` allows: events are leased
    /// for half as long again.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// After how long a delivery that is not answered leaves its place to another one, if waiting costs the destination nothing.
    fn gives_way_after(&self) -> Option<Duration> {
        None
    }

    /// Hands one event over. The worker drops it shortly before the event's lease ends; the outcome is unknown then.
    async fn deliver(&self, event: &LeasedEvent) -> Outcome<Self::Receipt>;

    /// Stores the effects of `settled` in the transaction that settles them; those that were lost have none.
    ///
    /// # Errors
    /// Any database error; then nothing is settled.
    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Self::Receipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr>;
}
