//! Three brokers of Apache Kafka fail in the ways of a cluster, under load: nothing is lost, nothing is told twice, and each quote's
//! events are told in their order.

mod audit;
mod bare;
mod doctor;
mod leaders;
mod leaving;
mod others;
mod security;
mod topics;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use entity::outbox_event::{Model, Status};
use feebox::destination::Kafka;
use feebox::outbox::{self, EventType, NewEvent};
use feebox::quotes::{FEE_CREATED, KAFKA, QUOTE, QUOTE_REJECTED, QUOTE_SUBMITTED, TOPICS};
use feebox::settings::Settings;
use feebox::worker::{Signals, Worker};
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::{FEES, QUOTES, Record, ids, read_of, settings_for};
use crate::support::{Engine, KafkaCluster, TestOutbox, eventually, worker_settings};

const LIMIT: Duration = Duration::from_mins(1);
const COOL_DOWN: Duration = Duration::from_secs(4);
/// Between two quotes under load.
const PACE: Duration = Duration::from_millis(25);

/// An outbox and a worker that empties it into the cluster, as in production: woken by ticks, with the default settings but for a
/// shorter cool-down and faster retries.
struct Telling {
    outbox: Arc<TestOutbox>,
    brokers: String,
    signals: Signals,
    tasks: Vec<JoinHandle<()>>,
}

impl Telling {
    async fn to(cluster: &KafkaCluster) -> Telling {
        Telling::with(cluster, &[]).await
    }

    /// With these settings.
    async fn with(cluster: &KafkaCluster, settings: &[(&str, &str)]) -> Telling {
        let mut telling = Telling::by_nobody(cluster).await;
        telling.work("a", &settings_for(cluster.brokers(), settings));
        telling
    }

    /// Without a worker.
    async fn by_nobody(cluster: &KafkaCluster) -> Telling {
        let mut outbox = TestOutbox::open(Engine::Sqlite).await;
        outbox.policy.circuit.failures = 10;
        outbox.policy.circuit.cool_down = COOL_DOWN;
        outbox.policy.retry = outbox::RetryPolicy::new(settings_for(cluster.brokers(), &[]).retry);
        let names = [&KAFKA, &TOPICS[0].name, &TOPICS[1].name];
        outbox::ensure_destinations(&outbox.db, &names).await.unwrap();
        let brokers = cluster.brokers().to_owned();
        Telling { outbox: Arc::new(outbox), brokers, signals: Signals::default(), tasks: vec![] }
    }

    /// Adds a worker called `name` with a producer of its own.
    fn work(&mut self, name: &str, settings: &Settings) {
        let (kafka, signals) = (Arc::new(Kafka::new(&settings.kafka).unwrap()), self.signals.clone());
        let worker: Arc<Worker<Kafka>> = Arc::new(self.outbox.worker_told(name, &kafka, worker_settings(), signals));
        self.tasks.push(tokio::spawn(async move { worker.work_every(Duration::from_millis(500)).await }));
    }

    /// Stores three events of a new quote, all for the topic of quotes.
    async fn quote(&self) -> Uuid {
        store(&self.outbox, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED, &QUOTE_REJECTED], json!({})).await
    }

    /// Stores an event of a new quote for the topic of fees.
    async fn fee(&self) -> Uuid {
        store(&self.outbox, &[&FEE_CREATED], json!({})).await
    }

    /// Stores quotes until `what` is over; returns what came of it.
    async fn under_load<T>(&self, what: impl Future<Output = T>) -> T {
        let outbox = Arc::clone(&self.outbox);
        let load = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                store(&outbox, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED], json!({})).await;
            }
        });
        let result = what.await;
        load.abort();
        result
    }

    /// A fault lasts for this long.
    async fn pass(&self, time: Duration) {
        let begun = Instant::now();
        eventually("time passes", LIMIT, async || (begun.elapsed() >= time).then_some(())).await;
    }

    async fn with_status(&self, status: Status) -> Vec<Model> {
        let mut events = self.outbox.events().await;
        events.retain(|event| event.status == status);
        events
    }

    /// How many of the events of `event_type` are delivered.
    async fn delivered(&self, event_type: &EventType) -> usize {
        self.with_status(Status::Delivered).await.iter().filter(|event| event.event_type == event_type.as_str()).count()
    }

    /// The circuit of lane `topic` of [`TOPICS`].
    async fn circuit(&self, topic: usize) -> destination::Model {
        let name = TOPICS[topic].name.as_str();
        destination::Entity::find_by_id(name).one(self.outbox.db.connection()).await.unwrap().unwrap()
    }

    async fn circuit_is(&self, topic: usize, circuit: Circuit) {
        eventually("the circuit changes", LIMIT, async || (self.circuit(topic).await.circuit == circuit).then_some(()))
            .await;
    }

    async fn all_are_delivered(&self) {
        let unsettled = async || {
            let events = self.outbox.events().await;
            events.iter().filter(|event| matches!(event.status, Status::Pending | Status::Leased)).count()
        };
        eventually("all events are settled", LIMIT, async || (unsettled().await == 0).then_some(())).await;
        let dead = self.with_status(Status::Dead).await;
        assert!(dead.is_empty(), "{} dead, for example {:?}", dead.len(), dead[0]);
    }

    /// Stops the worker, and reads `topic` back: each event once, each quote's in order. Returns for how long nothing was told.
    async fn told_once_and_in_order(&self, topic: &str, event_types: &[&EventType]) -> Duration {
        let mut events = self.outbox.events().await;
        events.retain(|event| event_types.iter().any(|it| event.event_type == it.as_str()));
        let recorded = by_quote(&events);
        let read = self.read(topic, recorded.keys()).await;
        let lost = events.iter().filter(|event| !ids(&read[&event.aggregate_id]).contains(&event.id)).count();
        let told: usize = read.values().map(Vec::len).sum();
        let again = |event: &&Model| ids(&read[&event.aggregate_id]).iter().filter(|id| **id == event.id).count() > 1;
        let twice = events.iter().filter(again).map(|event| (event.attempts, &event.failures, &event.receipt));
        assert_eq!(
            (lost, told),
            (0, events.len()),
            "lost, told; attempts of those told twice: {:?}",
            twice.collect::<Vec<_>>()
        );
        for (quote, expected) in &recorded {
            assert_eq!(ids(&read[quote]), *expected, "the order of {quote}");
        }
        println!("{topic}: {} events stored, none lost, none told twice", events.len());
        longest_gap(&events)
    }

    /// The longest time in which nothing was told to one of the partitions of the topic of quotes.
    async fn longest_gap_of_a_partition(&self) -> Duration {
        let events = self.with_status(Status::Delivered).await;
        longest_gap_of_a_partition(events.iter().filter_map(|event| {
            let receipt = event.receipt.as_ref()?;
            (receipt["topic"] == QUOTES).then_some((receipt["partition"].as_i64()?, event.settled_at?))
        }))
    }

    async fn read<'a>(&self, topic: &str, quotes: impl Iterator<Item = &'a Uuid>) -> HashMap<Uuid, Vec<Record>> {
        let (brokers, topic, quotes) = (self.brokers.clone(), topic.to_owned(), quotes.copied().collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || read_of(&brokers, &topic, &quotes)).await.unwrap()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.signals.drain.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Stores events of these types for a new quote, in this order; returns the quote's id.
async fn store(outbox: &TestOutbox, event_types: &[&EventType], payload: Value) -> Uuid {
    let quote = Uuid::now_v7();
    let events = event_types.iter().zip(1..).map(|(event_type, sequence)| NewEvent {
        aggregate_type: QUOTE,
        aggregate_id: quote,
        event_type: (*event_type).clone(),
        destination: KAFKA.clone(),
        partner: String::new(),
        sequence,
        payload: payload.clone(),
        trace_context: None,
    });
    let txn = outbox.db.begin().await.unwrap();
    outbox::record(&*txn, outbox.db.now(&*txn).await.unwrap(), events.collect()).await.unwrap();
    txn.commit().await.unwrap();
    quote
}

/// The ids of each quote's events, in their order.
fn by_quote(events: &[Model]) -> HashMap<Uuid, Vec<Uuid>> {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|event| event.sequence);
    let mut recorded = HashMap::new();
    for event in events {
        recorded.entry(event.aggregate_id).or_insert_with(Vec::new).push(event.id);
    }
    recorded
}

/// The longest time between two deliveries.
fn longest_gap(events: &[Model]) -> Duration {
    longest_between(events.iter().filter_map(|event| event.settled_at).collect())
}

/// The longest time between two deliveries to the same partition.
fn longest_gap_of_a_partition(stored: impl IntoIterator<Item = (i64, DateTime<Utc>)>) -> Duration {
    let mut partitions: HashMap<_, Vec<_>> = HashMap::new();
    for (partition, at) in stored {
        partitions.entry(partition).or_default().push(at);
    }
    partitions.into_values().map(longest_between).max().unwrap_or_default()
}

fn longest_between(mut times: Vec<DateTime<Utc>>) -> Duration {
    times.sort_unstable();
    let gaps = times.windows(2).map(|two| (two[1] - two[0]).to_std().unwrap_or_default());
    gaps.max().unwrap_or_default()
}
