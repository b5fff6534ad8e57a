//! Whether the brokers answer, and have the topics.

use super::Finding;
use crate::settings::Settings;

#[cfg(not(feature = "kafka"))]
pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    std::future::ready(()).await;
    let is_set = settings.kafka.brokers.is_some();
    let detail = "kafka.brokers is set, and this binary was built without Kafka";
    is_set.then(|| Finding::wrong("brokers", detail, "build it with --features kafka")).into_iter().collect()
}

#[cfg(feature = "kafka")]
pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    use crate::{destination::kafka, printable::printable};

    let check = "brokers";
    if settings.kafka.brokers.is_none() {
        return vec![];
    }
    let topics = match kafka::topics(&settings.kafka).await {
        Ok(topics) => topics,
        Err(error) => {
            let advice = "are they up, and are kafka.brokers and its credentials right? `feebox config` shows them";
            return vec![Finding::wrong(check, printable(&error, super::ERROR_LENGTH_MAX), advice)];
        }
    };
    let mut found = Vec::new();
    for topic in topics {
        let name = &topic.name;
        if let Some(error) = &topic.error {
            let error = printable(error, super::ERROR_LENGTH_MAX);
            found.push(Finding::wrong(
                check,
                format!("topic {name}: {error}"),
                "make the topic, or give Feebox's user the right to describe and write it",
            ));
        } else if topic.without_leader > 0 {
            let detail =
                format!("topic {name}: {} of {} partitions have no leader", topic.without_leader, topic.partitions);
            found.push(Finding::wrong(check, detail, "start the brokers that hold them"));
        } else if let Some(needed) = topic.in_sync_needed.filter(|needed| topic.in_sync_min < *needed) {
            let detail = format!(
                "topic {name}: a partition has {} replicas in sync, and min.insync.replicas is {needed}: it accepts nothing",
                topic.in_sync_min
            );
            let advice = if topic.replicas_max < needed {
                "give the topic more replicas, or lower its min.insync.replicas"
            } else {
                "start the brokers that lag"
            };
            found.push(Finding::wrong(check, detail, advice));
        } else if topic.in_sync_min < topic.replicas_max {
            let detail = format!(
                "topic {name}: a partition has {} replicas in sync of {}",
                topic.in_sync_min, topic.replicas_max
            );
            found.push(Finding::wrong(
                check,
                detail,
                "fewer than min.insync.replicas, and nothing is accepted: start the brokers that lag",
            ));
        } else {
            found.push(Finding::fine(
                check,
                format!("topic {name}: {} partitions, {} replicas in sync", topic.partitions, topic.in_sync_min),
            ));
        }
    }
    found
}
