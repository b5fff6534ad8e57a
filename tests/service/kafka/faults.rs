//! What the broker answers, told apart: librdkafka's mock cluster fails on cue.

use std::time::Duration;

use entity::destination::{self, Circuit};
use entity::outbox_event::Status;
use feebox::operator;
use feebox::outbox::{self, NewEvent};
use feebox::quotes::{KAFKA, QUOTE, QUOTE_SUBMITTED};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Error};
use sea_orm::EntityTrait;
use serde_json::json;
use uuid::Uuid;

use super::{QUOTES, Relayed, SHORT_LEASE, ids, read_of};
use crate::support::{ANN, TestOutbox};

type Mock = MockCluster<'static, DefaultProducerContext>;

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_each_quote_outlasts_errors_that_pass() {
    let mock = mock(3);
    let relayed = Relayed::to(&mock.bootstrap_servers(), TestOutbox::LEASE).await;
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
async fn a_batch_that_fails_in_part_holds_back_only_the_quotes_that_failed() {
    let mock = mock(4);
    let relayed = Relayed::to(&mock.bootstrap_servers(), TestOutbox::LEASE).await;
    let recorded = relayed.record(40).await;
    // One partition's share of the first batch.
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    relayed.worker().run_once().await.unwrap();
    let (dead, held_back) = (relayed.with_status(Status::Dead).await, relayed.with_status(Status::Pending).await);
    assert!(!dead.is_empty() && dead.len() < 40, "{}", dead.len());
    assert_eq!(held_back.len(), dead.len() * 2);
    let read = read_of(&mock.bootstrap_servers(), QUOTES, recorded.keys());
    for (quote, events) in recorded {
        let failed = dead.iter().any(|event| event.aggregate_id == quote);
        assert_eq!(ids(&read[&quote]), if failed { vec![] } else { events });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_write_access_makes_events_dead_and_blocks_no_others() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), SHORT_LEASE).await;
    let recorded = relayed.record(1).await;
    let (quote, events) = recorded.iter().next().unwrap();
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    relayed.worker().run_once().await.unwrap();
    let dead = relayed.with_status(Status::Dead).await;
    assert_eq!(dead.iter().map(|event| (event.id, event.attempts)).collect::<Vec<_>>(), [(events[0], 1)]);
    assert!(dead[0].last_error.as_ref().unwrap().starts_with("TopicAuthorizationFailed"), "{dead:?}");

    // Other quotes go on; this one does after an operator's retry, in its order.
    let other = relayed.submit(1).await[0];
    relayed.worker().run_once().await.unwrap();
    operator::retry(&relayed.outbox.db, ANN, events[0]).await.unwrap();
    relayed.run_to_the_end().await;
    let read = read_of(&mock.bootstrap_servers(), QUOTES, [quote, &other]);
    assert_eq!(ids(&read[quote]), *events);
    assert_eq!(read[&other].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_exist_makes_events_dead() {
    let mock = mock(1);
    mock.topic_error(QUOTES, Error::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let relayed = Relayed::to(&mock.bootstrap_servers(), TestOutbox::LEASE).await;
    relayed.submit(1).await;
    relayed.worker().run_once().await.unwrap();
    assert_eq!(relayed.with_status(Status::Dead).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_goes_dead_alone() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), TestOutbox::LEASE).await;
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
    outbox::record(&txn, relayed.outbox.now().await, vec![event]).await.unwrap();
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
    let relayed = Relayed::to(&mock.bootstrap_servers(), SHORT_LEASE).await;
    relayed.submit(5).await;
    relayed.worker().run_once().await.unwrap();
    assert_eq!(circuit(&relayed).await, Circuit::Open);
    let waiting = relayed.with_status(Status::Pending).await;
    assert_eq!(waiting.iter().map(|event| event.attempts).collect::<Vec<_>>(), [0; 5]);
    mock.clear_request_errors(Api::InitProducerId);
    relayed.outbox.advance(Duration::from_secs(16));
    relayed.run_to_the_end().await;
    assert_eq!(relayed.with_status(Status::Delivered).await.len(), 5);
    assert_eq!(circuit(&relayed).await, Circuit::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_broker_and_client_disagree_about_is_unknown_and_tried_again() {
    let mock = mock(1);
    let relayed = Relayed::to(&mock.bootstrap_servers(), SHORT_LEASE).await;
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

async fn circuit(relayed: &Relayed) -> Circuit {
    let connection = relayed.outbox.db.connection();
    destination::Entity::find_by_id(KAFKA.as_str()).one(connection).await.unwrap().unwrap().circuit
}
