//! Reading back the records of a topic, for measurements.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::Headers,
    metadata::MetadataTopic,
};

use super::record::QUOTES;

/// How long the brokers are given to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Reads the topic of quotes from where it ended when this was made. It waits for the brokers on the caller's thread.
pub struct KafkaReader {
    config: ClientConfig,
    began_at: Vec<(i32, i64)>,
}

/// A record of the topic of quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteRecord {
    /// The quote's id.
    pub key: String,
    /// For example `quote.submitted`.
    pub event_type: String,
    /// JSON.
    pub value: String,
}

/// The brokers do not answer, or not as expected.
#[derive(Debug, thiserror::Error)]
#[error("the topic of quotes cannot be read")]
pub struct KafkaReadError(#[from] KafkaError);

impl KafkaReader {
    /// Remembers where the topic ends now, if it exists.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn begin(brokers: &str) -> Result<Self, KafkaReadError> {
        let mut config = ClientConfig::new();
        let of_nobody = [("group.id", "feebox-reader"), ("enable.auto.commit", "false")];
        for (key, value) in
            of_nobody.into_iter().chain([("enable.partition.eof", "true"), ("bootstrap.servers", brokers)])
        {
            config.set(key, value);
        }
        let began_at = ends(&config.create()?)?;
        Ok(Self { config, began_at })
    }

    /// What brokers call themselves: `host:port` of each.
    ///
    /// # Errors
    /// They do not answer.
    pub fn broker_names(brokers: &str) -> Result<Vec<String>, KafkaReadError> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        let metadata = consumer.fetch_metadata(None, ANSWER_WAIT)?;
        Ok(metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect())
    }

    /// The records that were added until now; those of a quote in their order.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn read(&self) -> Result<Vec<QuoteRecord>, KafkaReadError> {
        let consumer: BaseConsumer = self.config.create()?;
        let mut from = TopicPartitionList::new();
        for (partition, _) in ends(&consumer)? {
            let began_at = self.began_at.iter().find(|(known, _)| *known == partition).map_or(0, |(_, offset)| *offset);
            from.add_partition_offset(QUOTES, partition, Offset::Offset(began_at))?;
        }
        consumer.assign(&from)?;
        let (mut records, mut partitions_left) = (Vec::new(), from.count());
        while partitions_left > 0 {
            match consumer.poll(ANSWER_WAIT) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => partitions_left -= 1,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into()),
            }
        }
        Ok(records)
    }
}

fn record(message: &impl Message) -> QuoteRecord {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let event_type = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "ce_type")?.value);
    QuoteRecord { key: text(message.key()), event_type: text(event_type), value: text(message.payload()) }
}

/// Where each partition ends; none of a topic that does not exist yet.
fn ends(consumer: &BaseConsumer) -> Result<Vec<(i32, i64)>, KafkaReadError> {
    let metadata = consumer.fetch_metadata(Some(QUOTES), ANSWER_WAIT)?;
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let end = |partition: i32| {
        let (_, end) = consumer.fetch_watermarks(QUOTES, partition, ANSWER_WAIT)?;
        Ok((partition, end))
    };
    partitions.map(|partition| end(partition.id())).collect()
}
