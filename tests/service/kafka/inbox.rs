//! `examples/inbox.rs`: a consumer that does what follows from an event once, although it is killed and told twice.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

use super::{QUOTES, Relayed, read};
use crate::support::{KafkaCluster, Process, Signal, eventually};

const LIMIT: Duration = Duration::from_mins(2);
const COUNT: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_with_an_inbox_acts_once_on_each_event_although_it_is_killed_and_told_twice() {
    let cluster = KafkaCluster::turn().await;
    let relayed = Relayed::to(cluster.brokers(), Duration::from_secs(30)).await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/steps.db?mode=rwc", directory.path().display());
    let number = async |sql: &str| {
        let db = Database::connect(&url).await.ok()?;
        let row = db.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.ok()??;
        row.try_get::<i64>("", "number").ok()
    };
    let start = || Process::start_example("inbox", &[cluster.brokers(), &url], &[]);
    let mut consumer = start();
    let recorded = relayed.record(COUNT).await;
    relayed.run_to_the_end().await;
    tell_again(cluster.brokers()).await;
    // It dies whenever it has done a quarter of what is left.
    for done in [COUNT / 4, COUNT / 2, COUNT] {
        let done = i64::try_from(done).unwrap();
        eventually("a part of the steps", LIMIT, async || {
            (number("SELECT count(*) AS number FROM inbox").await? >= done).then_some(())
        })
        .await;
        consumer.signal(Signal::Kill);
        consumer.wait(LIMIT).await;
        consumer = start();
    }
    let events = i64::try_from(recorded.values().map(Vec::len).sum::<usize>()).unwrap();
    eventually("each event in the inbox", LIMIT, async || {
        (number("SELECT count(*) AS number FROM inbox").await? == events).then_some(())
    })
    .await;
    // What is told again after everything changes nothing.
    tell_again(cluster.brokers()).await;
    relayed.record(1).await;
    relayed.run_to_the_end().await;
    eventually("the last quote", LIMIT, async || {
        (number("SELECT count(*) AS number FROM inbox").await? == events + 3).then_some(())
    })
    .await;
    assert_eq!(number("SELECT count(*) AS number FROM quote_step WHERE steps <> 3").await, Some(0));
    assert_eq!(number("SELECT sum(steps) AS number FROM quote_step").await, Some(events + 3));
}

/// All records of the topic once more, as after the death of a worker that had told them.
async fn tell_again(brokers: &str) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for record in read(brokers, QUOTES) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let payload = record.payload.to_string();
        let again = FutureRecord::to(QUOTES).key(&record.key).payload(&payload).headers(headers);
        producer.send(again, LIMIT).await.unwrap();
    }
}
