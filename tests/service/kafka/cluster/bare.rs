//! The measure of a gap: a producer with `acks=all` and nothing of ours.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PACE, longest_gap_of_a_partition};
use crate::support::KafkaCluster;

/// It writes two records of a key as often as quotes are stored under load, to a topic of its own.
pub(super) struct Bare {
    stop: CancellationToken,
    sending: JoinHandle<Vec<(i64, DateTime<Utc>)>>,
}

impl Bare {
    /// `topic` does not exist yet.
    pub(super) async fn to(cluster: &KafkaCluster, topic: &'static str) -> Bare {
        cluster.create(topic).await;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.brokers()).set("acks", "all");
        let (producer, stop) = (config.create::<FutureProducer>().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        let sending = tokio::spawn(async move {
            let (mut under_way, mut pace) = (JoinSet::new(), interval(PACE));
            while !stopped.is_cancelled() {
                pace.tick().await;
                let producer = producer.clone();
                under_way.spawn(async move {
                    let (key, mut stored) = (Uuid::now_v7().to_string(), vec![]);
                    for _ in 0..2 {
                        let record = FutureRecord::to(topic).key(&key).payload("{}");
                        let delivery = producer.send(record, Duration::from_mins(1)).await.unwrap();
                        stored.push((i64::from(delivery.partition), Utc::now()));
                    }
                    stored
                });
            }
            under_way.join_all().await.concat()
        });
        Bare { stop, sending }
    }

    /// Ends it when all is acknowledged; the longest time in which nothing was in one of the partitions.
    pub(super) async fn longest_gap(self) -> Duration {
        self.stop.cancel();
        longest_gap_of_a_partition(self.sending.await.unwrap())
    }
}
