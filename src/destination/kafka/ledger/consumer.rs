//! What blocks its thread: questions to the brokers, and reading.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
    metadata::MetadataTopic,
};
use tokio::sync::mpsc;

use super::{ANSWER_WAIT, Batch, Found, KafkaLedgerError, Line, ListedRecord, Place, topic_called};
use crate::destination::kafka::record::{SOURCE, TOPICS};

/// The pause before a question that could not be answered is asked again.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// How long the next record may take: longer than the election of a leader.
const RECORD_WAIT: Duration = Duration::from_secs(30);
/// Records that are handed on together.
const BATCH_SIZE: u64 = 500;
/// Records may have been written so long before the time that their events bear: hosts' clocks differ.
const CLOCKS_DIFFER_BY: TimeDelta = TimeDelta::minutes(10);

/// Of each partition the first offset to read, and the one after the last.
pub(super) fn reach(
    consumer: &BaseConsumer,
    created_after: Option<DateTime<Utc>>,
) -> Result<BTreeMap<Line, (i64, i64)>, KafkaError> {
    let mut reach = BTreeMap::new();
    for topic in TOPICS {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WAIT)?;
        let described = metadata.topics().iter().find(|described| described.name() == topic);
        for partition in described.into_iter().flat_map(MetadataTopic::partitions) {
            let line = (topic, partition.id());
            reach.insert(line, offsets(consumer, line)?);
        }
    }
    let Some(after) = created_after.and_then(|after| after.checked_sub_signed(CLOCKS_DIFFER_BY)) else {
        return Ok(reach);
    };
    let mut times = TopicPartitionList::new();
    for (topic, partition) in reach.keys() {
        times.add_partition_offset(topic, *partition, Offset::Offset(after.timestamp_millis().max(0)))?;
    }
    for found in consumer.offsets_for_times(times, ANSWER_WAIT)?.elements() {
        let line = topic_called(found.topic()).map(|topic| (topic, found.partition()));
        if let Some((first, end)) = line.and_then(|line| reach.get_mut(&line)) {
            // No record is as young: there is nothing to read.
            *first = found.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(*end).max(*first);
        }
    }
    Ok(reach)
}

/// The first offset of a partition, and the one after its last. While a leader is elected, it is asked again.
pub(super) fn offsets(consumer: &BaseConsumer, (topic, partition): Line) -> Result<(i64, i64), KafkaError> {
    let deadline = Instant::now() + RECORD_WAIT;
    loop {
        match consumer.fetch_watermarks(topic, partition, ANSWER_WAIT) {
            Err(error) if may_pass(&error) && Instant::now() < deadline => thread::sleep(ASKED_EVERY),
            asked => return asked,
        }
    }
}

/// Hands on all records within `reach`, until nobody wants more.
pub(super) fn read_all(
    config: &ClientConfig,
    reach: &BTreeMap<Line, (i64, i64)>,
    sender: &mpsc::Sender<Result<Batch, KafkaLedgerError>>,
) -> Result<(), KafkaError> {
    let consumer = BaseConsumer::from_config(config)?;
    let mut batch = Batch::default();
    for ((topic, partition), (from, end)) in reach {
        if from >= end {
            continue;
        }
        seek(&consumer, Place { topic, partition: *partition, offset: *from })?;
        while let Some(message) = next(&consumer, *partition)? {
            match listed(&message, topic) {
                Some(record) => batch.records.push(record),
                None => batch.of_others += 1,
            }
            let is_last = message.offset() + 1 >= *end;
            let is_full = batch.records.len() as u64 + batch.of_others >= BATCH_SIZE;
            if is_full && sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
            if is_last {
                break;
            }
        }
    }
    let _ = sender.blocking_send(Ok(batch));
    Ok(())
}

/// What is at `place` now.
pub(super) fn at(consumer: &BaseConsumer, place: Place) -> Result<Found, KafkaError> {
    let (first, end) = offsets(consumer, (place.topic, place.partition))?;
    if place.offset < first {
        return Ok(Found::Deleted);
    }
    if place.offset >= end {
        return Ok(Found::Nothing);
    }
    seek(consumer, place)?;
    Ok(match next(consumer, place.partition)? {
        Some(message) if message.offset() == place.offset => {
            listed(&message, place.topic).map_or(Found::Another, Found::Record)
        }
        _ => Found::Gap,
    })
}

fn seek(consumer: &BaseConsumer, place: Place) -> Result<(), KafkaError> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(place.topic, place.partition, Offset::Offset(place.offset))?;
    consumer.assign(&from)
}

/// The next record of `partition`, which is read now; `None` at its end. A broker that is down is waited for as long as the others: another may lead.
fn next(consumer: &BaseConsumer, partition: i32) -> Result<Option<BorrowedMessage<'_>>, KafkaError> {
    let deadline = Instant::now() + RECORD_WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(message)) if message.partition() == partition => return Ok(Some(message)),
            Some(Err(KafkaError::PartitionEOF(of))) if of == partition => return Ok(None),
            // Of the partition that was read before.
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) if may_pass(&error) && !left.is_zero() => {}
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
        }
    }
}

/// Whether it says that one broker does not answer now, which says nothing about the next record.
fn may_pass(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition, OperationTimedOut, Resolve,
    };
    let passing =
        [AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition, OperationTimedOut, Resolve];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

/// The record, if it calls Feebox its source.
fn listed(message: &impl Message, topic: &'static str) -> Option<ListedRecord> {
    let headers = message.headers()?;
    let header = |key: &str| {
        let value = headers.iter().find(|header| header.key == key)?.value;
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    (header("ce_source")? == SOURCE).then(|| ListedRecord {
        place: Place { topic, partition: message.partition(), offset: message.offset() },
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        event_id: header("ce_id").and_then(|id| id.parse().ok()),
        event_type: header("ce_type").unwrap_or_default(),
        created_at: header("ce_time").and_then(|time| Some(DateTime::parse_from_rfc3339(&time).ok()?.to_utc())),
    })
}
