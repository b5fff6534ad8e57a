//! The result of a comparison with Kafka's topics.

use serde::Serialize;

use super::Report;

/// What a comparison with Kafka's topics found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaReport {
    /// Records that call Feebox their source, and violations.
    #[serde(flatten)]
    pub report: Report,
    /// Records of others, which were passed over.
    pub of_others: u64,
    /// Records of events that were delivered by another record: repetitions.
    pub repeated: u64,
    /// Records that no event is known of any more, because retention has deleted it, or that were sent without an outbox.
    pub without_event: u64,
    /// Delivered events whose records the topic's retention or compaction has removed.
    pub removed: u64,
    /// Delivered events of which the brokers did not say where they are, and that were not found.
    pub unplaced: u64,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KafkaProgress {
    /// Records that were read.
    pub read: u64,
    /// How many there are at most.
    pub of: u64,
}

impl KafkaReport {
    #[cfg(feature = "kafka")]
    pub(super) fn new(begun: chrono::DateTime<chrono::Utc>) -> Self {
        let report = Report::new(begun);
        Self { report, of_others: 0, repeated: 0, without_event: 0, removed: 0, unplaced: 0 }
    }
}
