//! What the broker answers, told apart: librdkafka's mock cluster fails on cue.

use std::time::Duration;

use entity::destination::{self, Circuit};
use entity::outbox_event::Status;
use feebox::inspection::explain;
use feebox::outbox::{self, DestinationName, NewEvent};
use feebox::quotes::{KAFKA, QUOTE, QUOTE_SUBMITTED, TOPICS};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Error};
use sea_orm::EntityTrait;
use serde_json::json;
use uuid::Uuid;

use super::{IMPATIENT, PATIENT, QUOTES, Relayed, ids, read_of};

type Mock = MockCluster<'static, DefaultProducerContext>;

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_each_quote_outlasts_errors_that_pass() {
    let mock = mock(3);
    let relayed = Relayed::to(&mock.bootstrap_servers(), PATIENT).await;
    let recorded = relayed.record(40).await;
    let some = [
        Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Error::RD_KAFKA_RESP_ERR__TRANSPORT,
        Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Error::RD_KAFKA_RESP_ERR_NO_ERROR,
    ];
    mock.request_errors(Api::Produce, &some.repeat(3));
    relayed.run_to_the_end().await;
    let read = read_of(&mock.bootstrap_servers(), QUOTES, recorded.keys());
    for (quote, events) in recorded {
        assert_eq!(ids(&read[&quote]), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_is_sent_again_record_by_record_and_nobody_pays_for_another() {
    let mock = mock(4);
    let relayed = Relayed::to(&mock.bootstrap_servers(), PATIENT).await;
    let recorded = relayed.record(40).await;
    // One partition's share of the first batch.
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    relayed.run_to_the_end().await;
    let delivered = relayed.with_status(Status::Delivered).await;
    assert_eq!((delivered.len(), delivered.iter().all(|event| event.attempts == 1)), (120, true));
    let read = read_of(&mock.bootstrap_servers(), QUOTES, recorded.keys());
    for (quote, events) in recorded {
        assert_eq!(ids(&read[&quote]), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_by_itself_goes_dead_and_holds_back_its_quote_alone() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), PATIENT).await;
    let recorded = relayed.record(1).await;
    // In the batch, and alone.
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 2]);
    relayed.worker().run_once().await.unwrap();
    let dead = relayed.with_status(Status::Dead).await;
    assert_eq!((dead.len(), dead[0].attempts, dead[0].sequence), (1, 1, 1));
    let other = relayed.record(1).await;
    relayed.worker().run_once().await.unwrap();
    assert_eq!(relayed.with_status(Status::Pending).await.len(), 2);
    let quotes = [&recorded, &other].map(|of_one| *of_one.keys().next().unwrap());
    let read = read_of(&mock.bootstrap_servers(), QUOTES, &quotes);
    assert_eq!(quotes.map(|quote| read[&quote].len()), [0, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_write_access_kills_nothing_and_goes_on_when_it_has_it() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), IMPATIENT).await;
    let recorded = relayed.record(3).await;
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3]);
    relayed.worker().run_once().await.unwrap();
    let waiting = relayed.with_status(Status::Pending).await;
    assert!(waiting.iter().all(|event| event.attempts == 0), "{waiting:?}");
    let failed = waiting.iter().find_map(|event| event.last_error.as_deref());
    assert!(failed.is_some_and(|error| error.starts_with("TopicAuthorizationFailed")), "{failed:?}");
    assert_eq!(
        [circuit(&relayed, &KAFKA).await, circuit(&relayed, &TOPICS[0].name).await],
        [Circuit::Closed, Circuit::Open]
    );
    let first = waiting.iter().find(|event| event.sequence == 1).unwrap();
    let explained = explain(&relayed.outbox.db, first.id).await.unwrap().unwrap();
    assert!(explained.sentence.contains("The circuit of kafka/feebox.quotes has been open"), "{}", explained.sentence);

    mock.clear_request_errors(Api::Produce);
    relayed.run_to_the_end().await;
    assert_eq!(circuit(&relayed, &TOPICS[0].name).await, Circuit::Closed);
    let read = read_of(&mock.bootstrap_servers(), QUOTES, recorded.keys());
    for (quote, events) in recorded {
        assert_eq!(ids(&read[&quote]), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_exist_kills_nothing_and_gets_all_when_it_does() {
    let mock = mock(1);
    mock.topic_error(QUOTES, Error::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let relayed = Relayed::to(&mock.bootstrap_servers(), PATIENT).await;
    relayed.submit(4).await;
    for _ in 0..3 {
        relayed.worker().run_once().await.unwrap();
        relayed.outbox.advance(Duration::from_secs(16));
    }
    let waiting = relayed.with_status(Status::Pending).await;
    assert_eq!(waiting.iter().map(|event| event.attempts).collect::<Vec<_>>(), [0; 4]);
    mock.topic_error(QUOTES, Error::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    relayed.run_to_the_end().await;
    assert_eq!(relayed.with_status(Status::Delivered).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_goes_dead_alone() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), PATIENT).await;
    relayed.submit(3).await;
    let (quote_id, payload) = (Uuid::now_v7(), json!("x".repeat(1_100_000)));
    let (event_type, destination) = (QUOTE_SUBMITTED.clone(), KAFKA.clone());
    let event = NewEvent {
        aggregate_type: QUOTE,
        aggregate_id: quote_id,
        event_type,
        destination,
        partner: String::new(),
        sequence: 1,
        payload,
        trace_context: None,
    };
    let txn = relayed.outbox.db.begin().await.unwrap();
    outbox::record(&*txn, relayed.outbox.now().await, vec![event]).await.unwrap();
    txn.commit().await.unwrap();
    relayed.run_to_the_end().await;
    let dead = relayed.with_status(Status::Dead).await;
    assert_eq!(dead.iter().map(|event| event.aggregate_id).collect::<Vec<_>>(), [quote_id]);
}

/// Without the right to write idempotently the producer breaks for good; given the right, a new one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_broke_is_replaced_and_no_event_is_to_blame() {
    let mock = mock(1);
    mock.request_errors(Api::InitProducerId, &[Error::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED; 50]);
    let relayed = Relayed::to(&mock.bootstrap_servers(), IMPATIENT).await;
    relayed.submit(5).await;
    relayed.worker().run_once().await.unwrap();
    assert_eq!(circuit(&relayed, &KAFKA).await, Circuit::Open);
    let waiting = relayed.with_status(Status::Pending).await;
    assert_eq!(waiting.iter().map(|event| event.attempts).collect::<Vec<_>>(), [0; 5]);
    mock.clear_request_errors(Api::InitProducerId);
    relayed.outbox.advance(Duration::from_secs(16));
    relayed.run_to_the_end().await;
    assert_eq!(relayed.with_status(Status::Delivered).await.len(), 5);
    assert_eq!(circuit(&relayed, &KAFKA).await, Circuit::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_broker_and_client_disagree_about_is_unknown_and_tried_again() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), IMPATIENT).await;
    relayed.submit(1).await;
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let report = relayed.worker().run_once().await.unwrap();
    assert_eq!(report.retried, 1, "{report}");
    assert!(relayed.with_status(Status::Pending).await[0].outcome_unknown);
    relayed.run_to_the_end().await;
    assert_eq!(relayed.with_status(Status::Delivered).await.len(), 1);
}

fn mock(partitions: i32) -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(QUOTES, partitions, 1).unwrap();
    mock
}

async fn circuit(relayed: &Relayed, name: &DestinationName) -> Circuit {
    let connection = relayed.outbox.db.connection();
    destination::Entity::find_by_id(name.as_str()).one(connection).await.unwrap().unwrap().circuit
}
