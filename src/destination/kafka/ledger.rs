//! Reading back what the topics hold, for the audit.

mod consumer;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    config::FromClientConfig,
    consumer::BaseConsumer,
    error::KafkaError,
};
use tokio::{sync::mpsc, task::spawn_blocking};
use uuid::Uuid;

use super::{client, record::TOPICS};
use crate::settings;
use consumer::{at, offsets, reach, read_all};

/// How long the brokers have to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// A place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The topic.
    pub topic: &'static str,
    /// The topic's partition, from 0.
    pub partition: i32,
    /// The place in the partition, from 0.
    pub offset: i64,
}

/// A record that calls Feebox its source. It is compared, never stored.
#[derive(Clone, Debug)]
pub struct ListedRecord {
    /// Where it is.
    pub place: Place,
    /// Its key, as it is.
    pub key: String,
    /// Its `ce_id`, if that is an event's.
    pub event_id: Option<Uuid>,
    /// Its `ce_type`.
    pub event_type: String,
    /// Its `ce_time`.
    pub created_at: Option<DateTime<Utc>>,
}

/// Some records, in the order of their partition.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that call Feebox their source.
    pub records: Vec<ListedRecord>,
    /// How many others there were.
    pub of_others: u64,
}

/// What is at a place.
#[derive(Clone, Debug)]
pub enum Found {
    /// A record that calls Feebox its source.
    Record(ListedRecord),
    /// A record of another.
    Another,
    /// Retention has deleted it.
    Deleted,
    /// Nothing, between other records: compaction has removed it, or it is the mark of a transaction's end.
    Gap,
    /// Nothing: the partition ends before it, or does not exist.
    Nothing,
}

/// The brokers do not answer, or not as expected.
#[derive(Debug, thiserror::Error)]
#[error("the topics cannot be read")]
pub struct KafkaLedgerError(#[from] KafkaError);

/// The topics, as far as they reached when this was made.
pub struct KafkaLedger {
    config: ClientConfig,
    /// Of each partition the first offset to read, and the one after the last.
    reach: BTreeMap<Line, (i64, i64)>,
    /// Topics that keep only the last record of each key.
    compacted: HashMap<&'static str, bool>,
    /// Looks up single places.
    asker: Arc<Mutex<BaseConsumer>>,
}

/// A partition of a topic.
type Line = (&'static str, i32);

impl KafkaLedger {
    /// Remembers how far the topics reach; with `created_after`, only what may have been written after that is read.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn open(
        settings: &settings::Kafka,
        created_after: Option<DateTime<Utc>>,
    ) -> Result<Self, KafkaLedgerError> {
        let config = config(settings);
        let for_reach = config.clone();
        let (asker, reach) = blocking(move || {
            let consumer = BaseConsumer::from_config(&for_reach)?;
            let reach = reach(&consumer, created_after)?;
            Ok((consumer, reach))
        })
        .await?;
        let compacted = compacted(&config).await;
        Ok(Self { config, reach, compacted, asker: Arc::new(Mutex::new(asker)) })
    }

    /// How many records there are at most.
    #[must_use]
    pub fn len_max(&self) -> u64 {
        self.reach.values().map(|(from, end)| u64::try_from(end - from).unwrap_or(0)).sum()
    }

    /// Whether `topic` keeps only the last record of each key; `None` if the brokers do not tell us.
    #[must_use]
    pub fn is_compacted(&self, topic: &str) -> Option<bool> {
        self.compacted.get(topic).copied()
    }

    /// Reads all records, partition by partition.
    #[must_use]
    pub fn read(&self) -> Reading {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let (config, reach) = (self.config.clone(), self.reach.clone());
        spawn_blocking(move || {
            if let Err(error) = read_all(&config, &reach, &sender) {
                // Nobody waits for it any more if this fails.
                let _ = sender.blocking_send(Err(error.into()));
            }
        });
        Reading(batches)
    }

    /// What is at `place` now.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn at(&self, place: Place) -> Result<Found, KafkaLedgerError> {
        if !self.reach.contains_key(&(place.topic, place.partition)) {
            return Ok(Found::Nothing);
        }
        let asker = Arc::clone(&self.asker);
        blocking(move || at(&asker.lock(), place)).await
    }

    /// The first offset that each partition still has.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn first_offsets(&self) -> Result<HashMap<Line, i64>, KafkaLedgerError> {
        let (asker, lines) = (Arc::clone(&self.asker), self.reach.keys().copied().collect::<Vec<_>>());
        blocking(move || {
            let asker = asker.lock();
            let first = |line: Line| Ok((line, offsets(&asker, line)?.0));
            lines.into_iter().map(first).collect()
        })
        .await
    }
}

/// The records as they come.
pub struct Reading(mpsc::Receiver<Result<Batch, KafkaLedgerError>>);

impl Reading {
    /// The next ones; `None` after the last.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn next(&mut self) -> Result<Option<Batch>, KafkaLedgerError> {
        self.0.recv().await.transpose()
    }
}

/// The topic that is called so, if Feebox writes it.
#[must_use]
pub fn topic_called(name: &str) -> Option<&'static str> {
    TOPICS.into_iter().find(|topic| *topic == name)
}

fn config(settings: &settings::Kafka) -> ClientConfig {
    let mut config = client::connection(settings);
    for (key, value) in [
        ("client.id", "feebox-audit"),
        // It joins no group: the library wants a name.
        ("group.id", "feebox-audit"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        // What retention deletes meanwhile is passed over.
        ("auto.offset.reset", "earliest"),
        // A transaction that another leaves open would hide all that follows it. Ours are no part of one.
        ("isolation.level", "read_uncommitted"),
    ] {
        config.set(key, value);
    }
    config
}

/// librdkafka blocks while it waits for the brokers.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaLedgerError> {
    let asked = spawn_blocking(ask).await;
    Ok(asked.unwrap_or(Err(KafkaError::Canceled))?)
}

/// Asking takes a right of its own. Without it nothing is known.
async fn compacted(config: &ClientConfig) -> HashMap<&'static str, bool> {
    let Ok(admin) = AdminClient::<DefaultClientContext>::from_config(config) else { return HashMap::new() };
    let mut compacted = HashMap::new();
    for topic in TOPICS {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WAIT));
        let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let described = described.ok().and_then(|mut described| described.pop()?.ok());
        let policy = described.and_then(|described| described.get("cleanup.policy")?.value.clone());
        if let Some(policy) = policy {
            compacted.insert(topic, policy.contains("compact"));
        }
    }
    compacted
}
