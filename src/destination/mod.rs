//! Where events go: a port with exact promises.

#[cfg(feature = "server")]
mod client;
#[cfg(feature = "server")]
mod delivery;
#[cfg(feature = "server")]
mod fee_server;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "server")]
mod pass_on;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::{
    database::DatabaseTransaction,
    outbox::{self, DestinationName, Lane, LeasedEvent, Outcome, Settled},
};

#[cfg(feature = "server")]
pub use client::ClientError;
#[cfg(feature = "server")]
pub use delivery::Delivery;
#[cfg(feature = "server")]
pub use fee_server::{FeePage, FeeServer, FeeServerError, FeeServerReceipt, LedgerError, ListedFee};
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaClientError, KafkaReadError, KafkaReader, KafkaReceipt, QuoteRecord};

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
    fn name(&self) -> &DestinationName;

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

    /// Stores the effects of `settled` in the transaction that settles them; those that were lost have none. It may run again,
    /// so it has no other effect.
    ///
    /// # Errors
    /// Any database error; then nothing is settled.
    async fn apply(
        &self,
        _txn: &DatabaseTransaction,
        _settled: &[Settled<'_, Self::Receipt>],
        _now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        Ok(())
    }

    /// `settled` is committed, at the time `at`. A process that dies before this call leaves it out: for metrics, and what else may
    /// be lost.
    fn committed(&self, _settled: &[Settled<'_, Self::Receipt>], _at: DateTime<Utc>) {}
}
