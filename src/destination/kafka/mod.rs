//! Kafka: events of quotes for all who follow them.
//!
//! The only folder that knows `rdkafka`. Within `delivery.timeout.ms`, which ends well before an event's lease does, the
//! client repeats what is safe to repeat, and the broker stores a repeated record once (idempotent producer). What
//! fails after that is the outbox's to try again, as a new record with the same `ce_id`: Kafka has no look-up.

mod client;
mod failure;
mod producer;
mod reader;
mod record;
mod topics;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rdkafka::error::KafkaError;
use sea_orm::DbErr;
use serde_json::{Map, Value, json};

use super::{Delivery, Destination, pass_on};
use crate::{
    database::DatabaseTransaction,
    outbox::{DestinationName, LeasedEvent, Outcome, Receipt, Settled},
    quotes::{KAFKA, QuoteDestination, Relay},
    settings,
};
use producer::Producers;

pub use reader::{KafkaReadError, KafkaReader, QuoteRecord};
pub use topics::{Topic, topics};

/// Sends events to Kafka.
pub struct Kafka {
    producers: Producers,
}

/// Where Kafka stored an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaReceipt {
    /// The topic.
    pub topic: &'static str,
    /// The topic's partition, from 0.
    pub partition: i32,
    /// The place in the partition, from 0; `None` if the broker had it already and did not say where.
    pub offset: Option<i64>,
}

/// Settings that the client library does not take, such as a file of CA certificates that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka client does not take its settings")]
pub struct KafkaClientError(#[from] KafkaError);

impl Receipt for KafkaReceipt {
    fn kept(&self) -> Map<String, Value> {
        let Self { topic, partition, offset } = self;
        let fields = [("topic", json!(topic)), ("partition", json!(partition)), ("offset", json!(offset))];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

impl Kafka {
    /// A producer for the brokers of `settings`, for events that are leased for `lease`: a record that is not acknowledged
    /// within a part of that has failed.
    ///
    /// # Errors
    /// See [`KafkaClientError`]. Unavailable brokers are no error.
    pub fn new(settings: &settings::Kafka, lease: Duration) -> Result<Self, KafkaClientError> {
        Self::with_patience(settings, client::patience(lease))
    }

    /// The same for calls without an outbox: a record that is not acknowledged within `patience` has failed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_patience(settings: &settings::Kafka, patience: Duration) -> Result<Self, KafkaClientError> {
        Ok(Self { producers: Producers::new(client::config(settings, patience))? })
    }

    /// Hands `delivery` over, once.
    pub async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<KafkaReceipt> {
        let Some(topic) = record::topic(delivery.event_type) else {
            return Outcome::Broken(format!("no topic takes events of type {}", delivery.event_type));
        };
        let (key, value) = (delivery.quote_id.to_string(), delivery.payload.to_string());
        let producer = self.producers.current();
        let hand_over = || producer.begin(record::new(topic, &key, &value, delivery));
        let mut handed_over = hand_over();
        if handed_over.as_ref().is_err_and(failure::is_about_topic) {
            // The client remembers for minutes what it heard about a topic, which may have been created since.
            producer.ask_about(topic).await;
            handed_over = hand_over();
        }
        let failed = match handed_over {
            Ok(under_way) => match under_way.await {
                Ok(stored) => {
                    let (partition, offset) = (stored.partition, Some(stored.offset).filter(|offset| *offset >= 0));
                    return Outcome::Delivered(KafkaReceipt { topic, partition, offset });
                }
                Err(error) => failure::of_record(&error, producer.heard()),
            },
            Err(error) => failure::before_hand_over(&error),
        };
        match producer.fatal() {
            None => failed,
            Some((code, why)) => {
                self.producers.replace(&producer, &why);
                failure::of_producer(code, &why, failed)
            }
        }
    }
}

#[async_trait]
impl Destination for Kafka {
    type Receipt = KafkaReceipt;

    fn name(&self) -> &'static DestinationName {
        &KAFKA
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<KafkaReceipt> {
        self.hand_over(event.into()).await
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, KafkaReceipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        pass_on(txn, Relay::default(), QuoteDestination::Kafka, settled, |_| None, now).await
    }
}
