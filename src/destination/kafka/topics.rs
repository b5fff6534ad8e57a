//! How the topics that Feebox writes are doing.

use std::time::Duration;

use rdkafka::{
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
}

/// Asks the brokers for the topics that Feebox writes. Blocks for up to 10 s.
///
/// # Errors
/// No broker answers, in words.
pub fn topics(settings: &settings::Kafka) -> Result<Vec<Topic>, String> {
    let client = BaseConsumer::from_config(&config(settings, ANSWER_WAIT)).map_err(|error| error.to_string())?;
    record::TOPICS.iter().map(|name| topic(&client, name)).collect()
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
    })
}
