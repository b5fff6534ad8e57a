//! Three brokers of Apache Kafka.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, Producer};
use tokio::sync::{Mutex, MutexGuard};

use super::{Server, eventually};

const TOPICS: [&str; 2] = ["feebox.quotes", "feebox.fees"];
/// As many as divide well among three brokers.
const PARTITIONS: i32 = 12;
const LIMIT: Duration = Duration::from_secs(30);

/// The cluster that all tests of this process share, one after the other: they have the same topics.
pub struct KafkaCluster {
    server: Server,
    admin: AdminClient<DefaultClientContext>,
}

impl KafkaCluster {
    /// Waits for its turn. All brokers are up then, and the topics are empty.
    pub async fn turn() -> MutexGuard<'static, KafkaCluster> {
        static CLUSTER: OnceLock<Mutex<KafkaCluster>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| {
            let server = Server::kafka_cluster();
            let admin = config(server.url()).create().unwrap();
            Mutex::new(KafkaCluster { server, admin })
        });
        let cluster = cluster.lock().await;
        for topic in TOPICS {
            cluster.delete(topic).await;
            cluster.create(topic).await;
        }
        cluster
    }

    /// `host:port,host:port,host:port`
    pub fn brokers(&self) -> &str {
        self.server.url()
    }

    /// Obeys `tests/servers/kafka_cluster`'s commands.
    pub fn tell(&self, command: &str, answer: &str) {
        self.server.command(command, answer);
    }

    /// The broker that leads the most partitions of `topic`, from 1.
    pub fn leader_of(&self, topic: &str) -> i32 {
        let partitions = self.partitions(topic);
        let count = |broker: &i32| partitions.iter().filter(|leader| *leader == broker).count();
        (1..=3).max_by_key(count).unwrap()
    }

    /// Creates `topic`, and returns when each of its partitions has a leader.
    pub async fn create(&self, topic: &str) {
        eventually("the topic is made", LIMIT, async || {
            let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(3));
            let made = self.admin.create_topics([&new], &options()).await.unwrap();
            made[0].is_ok().then_some(())
        })
        .await;
        eventually("all partitions have a leader", LIMIT, async || {
            let partitions = self.partitions(topic);
            (i32::try_from(partitions.len()) == Ok(PARTITIONS) && !partitions.contains(&-1)).then_some(())
        })
        .await;
    }

    /// Deletes `topic`, if there is one.
    pub async fn delete(&self, topic: &str) {
        self.admin.delete_topics(&[topic], &options()).await.unwrap();
        eventually("the topic is gone", LIMIT, async || self.partitions(topic).is_empty().then_some(())).await;
    }

    /// Changes a setting of `topic`.
    pub async fn set(&self, topic: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        self.admin.alter_configs([&change], &options()).await.unwrap()[0].as_ref().unwrap();
    }

    /// Who leads each partition; -1 where nobody does.
    fn partitions(&self, topic: &str) -> Vec<i32> {
        let client: BaseProducer = config(self.brokers()).create().unwrap();
        let Ok(metadata) = client.client().fetch_metadata(Some(topic), LIMIT) else { return vec![] };
        metadata.topics()[0].partitions().iter().map(MetadataPartition::leader).collect()
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}
