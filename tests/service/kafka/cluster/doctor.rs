//! `feebox doctor` names what is wrong with the brokers' topics.

use entity::destination::Circuit;

use super::{LIMIT, QUOTES, Telling};
use crate::cli::doctor::{assert_named, examine, wrong};
use crate::support::{Engine, KafkaCluster, TestDatabase, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_and_replicas_that_lag_are_named() {
    let cluster = KafkaCluster::turn().await;
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let brokers = cluster.brokers().to_owned();
    let found = async || examine(database.url(), &[("FEEBOX__KAFKA__BROKERS", brokers.as_str())]).await.0;
    let of_brokers = |findings: &[serde_json::Value]| wrong(findings).iter().any(|text| text.starts_with("brokers"));
    assert!(!of_brokers(&found().await), "all is well");

    cluster.delete(QUOTES).await;
    assert_named(&found().await, "brokers", "topic feebox.quotes: ");
    cluster.create(QUOTES).await;
    assert!(!of_brokers(&found().await));

    let is_told = async |text: &str| wrong(&found().await).iter().any(|told| told.contains(text)).then_some(());
    cluster.set(QUOTES, "min.insync.replicas", "3").await;
    cluster.tell("crash 2", "crashed");
    let too_few = "a partition has 2 replicas in sync, and min.insync.replicas is 3: it accepts nothing";
    eventually("too few replicas are in sync", LIMIT, async || is_told(too_few).await).await;
    cluster.set(QUOTES, "min.insync.replicas", "2").await;
    let lagging = "a partition has 2 replicas in sync of 3";
    eventually("a replica lags", LIMIT, async || is_told(lagging).await).await;
    cluster.tell("start 2", "started");
    eventually("it has caught up", LIMIT, async || (!of_brokers(&found().await)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_write_that_is_missing_is_named_by_its_circuit() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    cluster.tell(&format!("deny {QUOTES}"), "denied");
    telling.quote().await;
    telling.circuit_is(0, Circuit::Open).await;
    let brokers = [("FEEBOX__KAFKA__BROKERS", cluster.brokers())];
    let (findings, _) = examine(telling.outbox.database.url(), &brokers).await;
    assert_named(&findings, "destinations", "the circuit of kafka/feebox.quotes is open since");
    cluster.tell(&format!("allow {QUOTES}"), "allowed");
    telling.all_are_delivered().await;
}
