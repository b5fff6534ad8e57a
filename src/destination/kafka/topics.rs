//! How the topics that Feebox writes are doing.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier},
    client::DefaultClientContext,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer},
};

use super::{client::config, record};
use crate::settings;

/// How long the brokers have to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A topic.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Why it cannot be used, for example because it does not exist.
    pub error: Option<String>,
    /// How many partitions it has.
    pub partitions: usize,
    /// How many of them nobody leads.
    pub without_leader: usize,
    /// The fewest replicas in sync that one of them has.
    pub in_sync_min: usize,
    /// The most replicas that one of them should have.
    pub replicas_max: usize,
    /// How many replicas in sync a partition needs to accept records (`min.insync.replicas`), unless the brokers do not tell.
    pub in_sync_needed: Option<usize>,
}

/// Asks the brokers for the topics that Feebox writes.
///
/// # Errors
/// No broker answers, in words.
pub async fn topics(settings: &settings::Kafka) -> Result<Vec<Topic>, String> {
    let config = config(settings, ANSWER_WAIT);
    let for_metadata = config.clone();
    // librdkafka blocks, for up to 10 s.
    let asked = tokio::task::spawn_blocking(move || {
        let client = BaseConsumer::from_config(&for_metadata).map_err(|error| error.to_string())?;
        record::TOPICS.iter().map(|name| topic(&client, name)).collect::<Result<Vec<_>, String>>()
    });
    let mut topics = asked.await.map_err(|error| error.to_string())??;
    let admin = AdminClient::<DefaultClientContext>::from_config(&config).map_err(|error| error.to_string())?;
    let named: Vec<_> = record::TOPICS.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WAIT));
    // It takes a right of its own, without which all else is still told.
    for described in admin.describe_configs(&named, &options).await.unwrap_or_default().into_iter().flatten() {
        for topic in topics.iter_mut().filter(|topic| is_of(&described, &topic.name)) {
            topic.in_sync_needed = described.get("min.insync.replicas").and_then(|it| it.value.as_ref()?.parse().ok());
        }
    }
    Ok(topics)
}

fn is_of(described: &ConfigResource, name: &str) -> bool {
    matches!(&described.specifier, OwnedResourceSpecifier::Topic(topic) if topic == name)
}

fn topic(client: &BaseConsumer, name: &str) -> Result<Topic, String> {
    let metadata = client.fetch_metadata(Some(name), ANSWER_WAIT).map_err(|error| error.to_string())?;
    let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(Topic { name: name.into(), error: Some("it does not exist".into()), ..Topic::default() });
    };
    let error = found.error().map(|error| rdkafka::error::RDKafkaErrorCode::from(error).to_string());
    let partitions = found.partitions();
    Ok(Topic {
        name: name.into(),
        error: error.or_else(|| partitions.is_empty().then(|| "it does not exist".into())),
        partitions: partitions.len(),
        without_leader: partitions.iter().filter(|partition| partition.leader() < 0).count(),
        in_sync_min: partitions.iter().map(|partition| partition.isr().len()).min().unwrap_or_default(),
        replicas_max: partitions.iter().map(|partition| partition.replicas().len()).max().unwrap_or_default(),
        in_sync_needed: None,
    })
}
