//! Kafka as a destination: over the wire to a broker that speaks its protocol, read back by `kcat`, and against
//! librdkafka's mock cluster where the broker has to fail on cue. What only a cluster has, such as leaders, rights and limits of topics, is
//! tested on three brokers of Apache Kafka.

mod cluster;
mod faults;
mod inbox;
mod outage;
mod quotes;
mod strategies;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod wire;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::{Model, Status};
use feebox::destination::Kafka;
use feebox::quotes::{KAFKA, QuoteDestination, Relay};
use feebox::settings::{Settings, Sources};
use feebox::submission::{OutboxRecorder, Submission};
use feebox::worker::Worker;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Engine, TestOutbox, new_quote, worker_settings};

const QUOTES: &str = "feebox.quotes";
const FEES: &str = "feebox.fees";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// How long a record has where brokers answer in the end.
const PATIENT: Duration = Duration::from_secs(5);
/// How long it has where they do not.
const IMPATIENT: Duration = Duration::from_secs(1);

/// An outbox whose news go to `brokers`.
struct Relayed {
    outbox: TestOutbox,
    settings: Settings,
    kafka: Arc<Kafka>,
}

impl Relayed {
    async fn to(brokers: &str, patience: Duration) -> Relayed {
        Relayed::with(brokers, patience, &[]).await
    }

    /// With these settings, too.
    async fn with(brokers: &str, patience: Duration, others: &[(&str, &str)]) -> Relayed {
        Relayed::on(TestOutbox::open(Engine::Sqlite).await, brokers, patience, others)
    }

    fn on(outbox: TestOutbox, brokers: &str, patience: Duration, others: &[(&str, &str)]) -> Relayed {
        let settings = settings_for(brokers, others);
        let kafka = Arc::new(Kafka::with_patience(&settings.kafka, patience).unwrap());
        Relayed { outbox, settings, kafka }
    }

    fn relay(&self) -> Relay {
        Relay::new(&self.settings)
    }

    fn worker(&self) -> Worker<Kafka> {
        self.outbox.worker("a", &self.kafka, worker_settings())
    }

    async fn submit(&self, count: usize) -> Vec<Uuid> {
        let handover = Arc::new(OutboxRecorder::new(QuoteDestination::FeeServer, self.relay()));
        let submission = Submission::new(self.outbox.db.clone(), handover, vec![]);
        let quotes: Vec<_> = (0..count).map(|_| new_quote()).collect();
        let submitted = submission.submit(&quotes, None, Some(TRACE.into())).await.unwrap();
        submitted.quotes.iter().map(|quote| quote.id).collect()
    }

    /// Stores `count` quotes of three events each for the topic of quotes; returns the events' ids by quote, in order.
    async fn record(&self, count: usize) -> HashMap<Uuid, Vec<Uuid>> {
        let mut recorded = HashMap::new();
        for _ in 0..count {
            let quote = Uuid::now_v7();
            for sequence in 1..=3 {
                let event = self.outbox.record(quote, &KAFKA, sequence).await;
                recorded.entry(quote).or_insert_with(Vec::new).push(event);
            }
        }
        recorded
    }

    /// Runs the worker until nothing is pending; whatever waits is made due.
    async fn run_to_the_end(&self) {
        for _ in 0..20 {
            self.worker().run_once().await.unwrap();
            if self.with_status(Status::Pending).await.is_empty() {
                return;
            }
            self.outbox.advance(Duration::from_mins(1));
        }
        panic!("still pending: {:#?}", self.with_status(Status::Pending).await);
    }

    async fn with_status(&self, status: Status) -> Vec<Model> {
        let mut events = self.outbox.events().await;
        events.retain(|event| event.destination == KAFKA && event.status == status);
        events
    }
}

/// With `brokers` and these, each a key and a value.
fn settings_for(brokers: &str, others: &[(&str, &str)]) -> Settings {
    Settings::load(&Sources::overrides([&[("kafka.brokers", brokers)], others].concat())).unwrap()
}

/// A record as `kcat` reads it.
#[derive(Debug)]
struct Record {
    partition: i64,
    offset: i64,
    key: String,
    headers: HashMap<String, String>,
    payload: Value,
}

impl Record {
    fn event_id(&self) -> Uuid {
        self.headers["ce_id"].parse().unwrap()
    }
}

/// All records of `topic`, partition by partition.
fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let arguments = ["-C", "-b", brokers, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p\t%o\t%k\t%h\t%s\n"];
    let output = Command::new("kcat").args(arguments).output().expect("run `tests/servers/install kcat`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(record).collect()
}

/// The records of `topic` with one of `keys`, by key and in order.
fn read_of<'a>(brokers: &str, topic: &str, keys: impl IntoIterator<Item = &'a Uuid>) -> HashMap<Uuid, Vec<Record>> {
    let mut records: HashMap<Uuid, Vec<Record>> = keys.into_iter().map(|key| (*key, vec![])).collect();
    for record in read(brokers, topic) {
        let key = record.key.parse().unwrap();
        records.entry(key).and_modify(|of_key| of_key.push(record));
    }
    records
}

fn ids(records: &[Record]) -> Vec<Uuid> {
    records.iter().map(Record::event_id).collect()
}

fn record(line: &str) -> Record {
    let fields: Vec<&str> = line.splitn(5, '\t').collect();
    let [partition, offset, key, headers, payload] = fields[..] else { panic!("not five fields: {line}") };
    let headers = headers.split(',').map(|header| header.split_once('=').unwrap());
    Record {
        partition: partition.parse().unwrap(),
        offset: offset.parse().unwrap(),
        key: key.into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        payload: serde_json::from_str(payload).unwrap(),
    }
}
