//! Where events go: a port with exact promises.

mod delivery;
mod fee_server;
#[cfg(feature = "kafka")]
mod kafka;
mod scripted;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::{
    database::DatabaseTransaction,
    outbox::{self, DestinationName, LeasedEvent, Outcome, Settled},
};

pub use delivery::Delivery;
pub use fee_server::{FeePage, FeeServer, FeeServerError, FeeServerReceipt, LedgerError, ListedFee};
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaClientError, KafkaReadError, KafkaReader, KafkaReceipt, QuoteRecord};
pub use scripted::{Call, Cue, Scripted};

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
