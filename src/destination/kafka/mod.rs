//! Kafka: events of quotes for all who follow them.
//!
//! The only folder that knows `rdkafka`. Within `kafka.delivery_timeout`, which is longer than the election of a leader and ends well
//! before an event's lease does, the client repeats what is safe to repeat, and the broker stores a repeated record once (idempotent
//! producer). What fails after that is the outbox's to try again, as a new record with the same `ce_id`: Kafka has no look-up.

#[cfg(feature = "lab")]
mod bare;
mod client;
mod failure;
mod files;
mod ledger;
mod lines;
mod producer;
mod reader;
mod record;
mod topics;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rdkafka::{error::KafkaError, producer::FutureRecord};
use sea_orm::DbErr;
use serde_json::{Map, Value, json};

use super::{Delivery, Destination, pass_on::pass_on};
use crate::{
    database::DatabaseTransaction,
    outbox::{DestinationName, Lane, LeasedEvent, Outcome, Receipt, Settled},
    quotes::{KAFKA, QuoteDestination, Relay, TOPICS},
    settings,
    telemetry::Span,
};
use files::Files;
use lines::{Lines, STILL_AFTER};
use producer::{MadeWhenNeeded, Producers};

#[cfg(feature = "lab")]
pub use bare::send_bare;
pub use ledger::{Batch, Found, KafkaLedger, KafkaLedgerError, ListedRecord, Place, Reading, topic_called};
pub use reader::{KafkaReadError, KafkaReader, QuoteRecord};
pub use topics::{Topic, topics};

/// So many records under way at once wait for larger batches: otherwise brokers and client spend their time on requests.
const MANY: usize = 64;

/// After this long the brokers are asked again how many partitions a topic has.
const ASK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Sends events to Kafka.
pub struct Kafka {
    patience: Duration,
    producers: Producers,
    /// Sends what is many, in large batches.
    bulk: MadeWhenNeeded,
    /// Sends each record in a batch of its own.
    alone: MadeWhenNeeded,
    lines: Lines,
    partitions: Arc<Mutex<HashMap<&'static str, Partitions>>>,
}

/// The partitions of a topic.
#[derive(Default)]
struct Partitions {
    count: Option<i32>,
    asked_at: Option<Instant>,
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
    /// A producer for the brokers of `settings`. A record that is not acknowledged within `kafka.delivery_timeout` has failed.
    ///
    /// # Errors
    /// See [`KafkaClientError`]. Unavailable brokers are no error.
    pub fn new(settings: &settings::Kafka) -> Result<Self, KafkaClientError> {
        Self::with_patience(settings, settings.delivery_timeout)
    }

    /// The same with another time: a record that is not acknowledged within `patience` has failed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_patience(settings: &settings::Kafka, patience: Duration) -> Result<Self, KafkaClientError> {
        let config = client::config(settings, patience);
        let [bulk, alone] = [client::bulk(config.clone(), patience), client::alone(config.clone())];
        Ok(Self {
            patience,
            producers: Producers::new(config, Files::of(settings))?,
            bulk: MadeWhenNeeded::new(bulk),
            alone: MadeWhenNeeded::new(alone),
            lines: Lines::default(),
            partitions: Arc::default(),
        })
    }

    /// Hands `delivery` over, once.
    pub async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<KafkaReceipt> {
        self.hand_over_by(&self.producers, delivery).await
    }

    async fn hand_over_by(&self, producers: &Producers, delivery: Delivery<'_>) -> Outcome<KafkaReceipt> {
        let Some(topic) = record::topic(delivery.event_type) else {
            return Outcome::Broken(format!("no topic takes events of type {}", delivery.event_type));
        };
        let (key, value) = (delivery.quote_id.to_string(), delivery.payload.to_string());
        let (mut span, trace) = Span::of_record(delivery.trace_context, || format!("publish {topic}"));
        span.note("messaging.system", || "kafka".to_owned());
        span.note("messaging.destination.name", || topic.to_owned());
        let record = || record::new(topic, &key, &value, delivery, trace.as_ref());
        let outcome = self.send(producers, topic, &record).await;
        if let Some(error) = outcome.error() {
            span.failed(error);
        }
        outcome
    }

    async fn send<'a>(
        &self,
        producers: &Producers,
        topic: &'static str,
        record: &(impl Fn() -> FutureRecord<'a, str, str> + Sync),
    ) -> Outcome<KafkaReceipt> {
        match send(producers, topic, record).await {
            // Brokers refuse a batch as a whole: by itself the record is stored, if it was another that they dislike.
            Err(Failure { refused_with_others: true, .. }) => {
                let sent = match self.alone.beside(&self.producers) {
                    Ok(alone) => send(&alone, topic, record).await,
                    Err(error) => return Outcome::Retry(error.to_string()),
                };
                sent.map_or_else(|failure| failure.outcome, Outcome::Delivered)
            }
            sent => sent.map_or_else(|failure| failure.outcome, Outcome::Delivered),
        }
    }

    /// The partition of `key`, if it is known how many the topic has. If not, or not lately, the brokers are asked meanwhile.
    fn partition_of(&self, topic: &'static str, key: &str) -> Option<i32> {
        let now = Instant::now();
        let mut known = self.partitions.lock();
        let Partitions { count, asked_at } = known.entry(topic).or_default();
        if asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN_AFTER) {
            *asked_at = Some(now);
            let (partitions, producer) = (Arc::clone(&self.partitions), self.producers.current());
            tokio::spawn(async move {
                if let Some(count) = producer.ask_about(topic).await.filter(|count| *count > 0) {
                    partitions.lock().entry(topic).or_default().count = Some(count);
                }
            });
        }
        count.map(|count| lines::partition_of(key.as_bytes(), count))
    }
}

/// A record that was not stored.
struct Failure {
    outcome: Outcome<KafkaReceipt>,
    /// The brokers refused its batch.
    refused_with_others: bool,
}

/// Sends a record to `topic`, and waits until it is stored or has failed.
async fn send<'a>(
    producers: &Producers,
    topic: &'static str,
    record: &(impl Fn() -> FutureRecord<'a, str, str> + Sync),
) -> Result<KafkaReceipt, Failure> {
    let producer = producers.current();
    let mut handed_over = producer.begin(record());
    if handed_over.as_ref().is_err_and(failure::is_about_topic) {
        // The client remembers for minutes what it heard about a topic, which may have been created since.
        producer.ask_about(topic).await;
        handed_over = producer.begin(record());
    }
    let (failed, refused_with_others) = match handed_over {
        Ok(under_way) => match under_way.await {
            Ok(stored) => {
                let (partition, offset) = (stored.partition, Some(stored.offset).filter(|offset| *offset >= 0));
                return Ok(KafkaReceipt { topic, partition, offset });
            }
            Err(error) => (failure::of_record(&error, producer.heard()), failure::may_be_anothers(&error)),
        },
        // The client refuses each record by itself.
        Err(error) => (failure::before_hand_over(&error), false),
    };
    let Some((code, why)) = producer.fatal() else { return Err(Failure { outcome: failed, refused_with_others }) };
    producers.replace(&producer, &why);
    Err(Failure { outcome: failure::of_producer(code, &why, failed), refused_with_others })
}

#[async_trait]
impl Destination for Kafka {
    type Receipt = KafkaReceipt;

    fn name(&self) -> &'static DestinationName {
        &KAFKA
    }

    fn lanes(&self) -> &'static [Lane] {
        &TOPICS
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn gives_way_after(&self) -> Option<Duration> {
        Some(STILL_AFTER)
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<KafkaReceipt> {
        let Some(topic) = record::topic(&event.event_type) else { return self.hand_over(event.into()).await };
        let partition = self.partition_of(topic, &event.aggregate_id.to_string());
        let Some(place) = self.lines.enter(topic, partition, Instant::now()) else {
            return Outcome::PutOff("its partition does not acknowledge anything at present".into(), STILL_AFTER);
        };
        let are_many = self.lines.under_way() >= MANY;
        let bulk = if are_many { self.bulk.if_ready(&self.producers, topic) } else { None };
        let outcome = self.hand_over_by(bulk.as_deref().unwrap_or(&self.producers), event.into()).await;
        if matches!(outcome, Outcome::Delivered(_)) {
            place.moved(Instant::now());
        }
        outcome
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
