//! Three brokers of Apache Kafka.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Mutex, MutexGuard};

use super::{Authority, Identity, Server, eventually};

const TOPICS: [&str; 2] = ["feebox.quotes", "feebox.fees"];
/// As many as divide well among three brokers.
const PARTITIONS: i32 = 12;
const LIMIT: Duration = Duration::from_secs(30);

/// The cluster that all tests of this process share, one after the other: they have the same topics.
pub struct KafkaCluster {
    server: Server,
    admin: AdminClient<DefaultClientContext>,
    /// Vouches for the brokers, and for the clients that they accept. The server removes its files.
    authority: Authority,
    /// What ends each fault: its command and its answer.
    remedies: std::sync::Mutex<HashMap<String, (String, &'static str)>>,
}

impl KafkaCluster {
    /// Waits for its turn. All brokers are up then, and the topics are empty: also after a test that failed.
    pub async fn turn() -> MutexGuard<'static, KafkaCluster> {
        static CLUSTER: OnceLock<Mutex<KafkaCluster>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| Mutex::new(KafkaCluster::start()));
        let mut cluster = cluster.lock().await;
        if cluster.server.has_ended() {
            *cluster = KafkaCluster::start();
        }
        let remedies = std::mem::take(&mut *cluster.remedies.lock().unwrap());
        for (command, answer) in remedies.into_values() {
            cluster.tell(&command, answer);
        }
        for topic in TOPICS {
            cluster.delete(topic).await;
            cluster.create(topic).await;
        }
        cluster
    }

    fn start() -> KafkaCluster {
        let authority = Authority::new("kafka");
        let certificates = authority.certificate().parent().unwrap().to_owned();
        show(&authority.vouch_for("127.0.0.1"), &certificates);
        let server = Server::kafka_cluster(certificates.to_str().unwrap());
        let admin = config(server.url().split(' ').next().unwrap()).create().unwrap();
        KafkaCluster { server, admin, authority, remedies: std::sync::Mutex::default() }
    }

    /// `host:port,host:port,host:port`, where nobody logs in.
    pub fn brokers(&self) -> &str {
        self.addresses(0)
    }

    /// The same over TLS, for clients with a certificate.
    pub fn brokers_with_tls(&self) -> &str {
        self.addresses(1)
    }

    /// The same over TLS, for clients that log in by SCRAM: as `feebox` with the password `secret`.
    pub fn brokers_with_scram(&self) -> &str {
        self.addresses(2)
    }

    fn addresses(&self, of: usize) -> &str {
        self.server.url().split(' ').nth(of).unwrap()
    }

    /// Who vouches for the brokers and their clients.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// From now on the brokers show another certificate to those who connect.
    pub async fn show(&self, identity: &Identity) {
        let certificates = self.authority.certificate();
        let shown = show(identity, certificates.parent().unwrap());
        for broker in 1..=3 {
            let mut change = AlterConfig::new(ResourceSpecifier::Broker(broker));
            let keys = ["tls", "scram"].map(|name| format!("listener.name.{name}.ssl.keystore.location"));
            for key in &keys {
                change = change.set(key, shown.to_str().unwrap());
            }
            self.admin.alter_configs([&change], &options()).await.unwrap()[0].as_ref().unwrap();
        }
    }

    /// Obeys `tests/servers/kafka_cluster`'s commands.
    pub fn tell(&self, command: &str, answer: &str) {
        let (verb, object) = command.split_once(' ').unwrap();
        let remedy = match verb {
            "crash" => Some((format!("start {object}"), "started")),
            "freeze" => Some((format!("thaw {object}"), "thawed")),
            "deny" => Some((format!("allow {object}"), "allowed")),
            "quota" if object != "none" => Some(("quota none".to_owned(), "limited")),
            _ => None,
        };
        let mut remedies = self.remedies.lock().unwrap();
        if let Some(remedy) = remedy {
            remedies.insert(command.to_owned(), remedy);
        } else {
            remedies.retain(|_, (remedy, _)| remedy != command);
        }
        drop(remedies);
        self.server.command(command, answer);
    }

    /// The addresses of the brokers that are up.
    fn up(&self) -> Vec<&str> {
        let remedies = self.remedies.lock().unwrap();
        let is_up = |broker: usize| {
            ["crash", "freeze"].iter().all(|fault| !remedies.contains_key(&format!("{fault} {broker}")))
        };
        self.brokers().split(',').zip(1..).filter(|(_, broker)| is_up(*broker)).map(|(address, _)| address).collect()
    }

    /// The broker that leads the most partitions of `topic`, from 1.
    pub fn leader_of(&self, topic: &str) -> i32 {
        let partitions = self.partitions(topic);
        let count = |broker: &i32| partitions.iter().filter(|leader| *leader == broker).count();
        (1..=3).max_by_key(count).unwrap()
    }

    /// Creates `topic`, and returns when all brokers know a leader of each of its partitions.
    pub async fn create(&self, topic: &str) {
        eventually("the topic is made", LIMIT, async || {
            let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(3));
            let made = self.admin.create_topics([&new], &options()).await.unwrap();
            made[0].is_ok().then_some(())
        })
        .await;
        self.all_know(topic, |leaders| i32::try_from(leaders.len()) == Ok(PARTITIONS) && !leaders.contains(&-1)).await;
    }

    /// Deletes `topic`, if there is one, and returns when all brokers know.
    pub async fn delete(&self, topic: &str) {
        self.admin.delete_topics(&[topic], &options()).await.unwrap();
        self.all_know(topic, <[i32]>::is_empty).await;
    }

    /// Each broker hears of a change by itself, and may be the one that is asked next.
    async fn all_know(&self, topic: &str, is_changed: impl Fn(&[i32]) -> bool) {
        for broker in self.up() {
            let changed = async || is_changed(&partitions(broker, topic)?).then_some(());
            eventually("a broker knows the change", LIMIT, changed).await;
        }
    }

    /// How many partitions `topic` has.
    pub fn partitions_of(&self, topic: &str) -> usize {
        self.partitions(topic).len()
    }

    /// From now on `topic` has so many partitions, each with a leader.
    pub async fn add_partitions(&self, topic: &str, count: usize) {
        let added = self.admin.create_partitions([&NewPartitions::new(topic, count)], &options()).await.unwrap();
        added[0].as_ref().unwrap();
        self.all_know(topic, |leaders| leaders.len() == count && !leaders.contains(&-1)).await;
    }

    /// Another producer writes a record to each partition of `topic`, and does not say whether they count.
    pub fn open_transaction(&self, topic: &str) -> OpenTransaction {
        let mut config = config(self.brokers());
        let producer: BaseProducer = config.set("transactional.id", "another").create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        for partition in 0..self.partitions_of(topic) {
            let partition = i32::try_from(partition).unwrap();
            producer.send(BaseRecord::<str, str>::to(topic).partition(partition).payload("another's")).unwrap();
        }
        producer.flush(LIMIT).unwrap();
        OpenTransaction(producer)
    }

    /// Writes a record without a payload to `topic`, as another producer does.
    pub async fn write(&self, topic: &str, key: &str, headers: &[(&str, String)]) {
        let producer: FutureProducer = config(self.brokers()).create().unwrap();
        let mut with = OwnedHeaders::new();
        for (name, value) in headers {
            with = with.insert(Header { key: name, value: Some(value) });
        }
        producer.send(FutureRecord::<str, str>::to(topic).key(key).headers(with), LIMIT).await.unwrap();
    }

    /// Deletes all records that `topic` has now, as its retention does.
    pub async fn delete_records(&self, topic: &str) {
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions_of(topic) {
            all.add_partition_offset(topic, i32::try_from(partition).unwrap(), Offset::End).unwrap();
        }
        // A client remembers the leaders of a topic that has been made anew since; and leaders move while the machine is busy.
        eventually("the records are deleted", LIMIT, async || {
            let admin: AdminClient<DefaultClientContext> = config(self.brokers()).create().unwrap();
            let deleted = admin.delete_records(&all, &options()).await.unwrap();
            deleted.elements().iter().all(|partition| partition.error().is_ok()).then_some(())
        })
        .await;
    }

    /// Changes a setting of `topic`; all others have their defaults then.
    pub async fn set(&self, topic: &str, key: &str, value: &str) {
        self.configure(topic, &[(key, value)]).await;
    }

    /// Changes settings of `topic`; all others have their defaults then.
    pub async fn configure(&self, topic: &str, settings: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in settings {
            change = change.set(key, value);
        }
        // A client may ask a broker that is down meanwhile.
        eventually("the settings are changed", LIMIT, async || {
            let admin: AdminClient<DefaultClientContext> = config(&self.up().join(",")).create().unwrap();
            let patience = AdminOptions::new().request_timeout(Some(LIMIT / 12));
            let changed = admin.alter_configs([&change], &patience).await.ok()?;
            changed[0].is_ok().then_some(())
        })
        .await;
    }

    /// Who leads each partition; -1 where nobody does.
    fn partitions(&self, topic: &str) -> Vec<i32> {
        partitions(self.brokers(), topic).unwrap()
    }
}

/// A transaction of another producer.
pub struct OpenTransaction(BaseProducer);

impl OpenTransaction {
    pub fn abort(self) {
        self.0.abort_transaction(LIMIT).unwrap();
    }
}

/// Who leads each partition, by what one of `brokers` says; none if the topic does not exist, `None` if there is no answer.
fn partitions(brokers: &str, topic: &str) -> Option<Vec<i32>> {
    let client: BaseProducer = config(brokers).create().unwrap();
    let metadata = client.client().fetch_metadata(Some(topic), LIMIT).ok()?;
    Some(metadata.topics()[0].partitions().iter().map(MetadataPartition::leader).collect())
}

/// Writes what brokers show to a file in `directory`, and returns that.
fn show(identity: &Identity, directory: &Path) -> PathBuf {
    let file = directory.join("broker.pem");
    let texts = [&identity.key, &identity.certificate].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&file, texts.concat()).unwrap();
    file
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}
