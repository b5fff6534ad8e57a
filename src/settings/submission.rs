//! `submission.*`: how a submitted quote reaches its destination.

use super::{Kafka, fields::Fields};

/// How a submitted quote reaches its destination.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The design in use.
    pub strategy: Strategy,
    /// The destination that must accept a quote before it is confirmed.
    pub destination: QuoteDestination,
    /// With [`Strategy::AfterCommit`]: whether a call that fails for good cancels the quote.
    pub compensate: bool,
}

/// The destination that has to take a quote before it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteDestination {
    /// It makes the quote's fee.
    FeeServer,
    /// It stores the quote's record; no fee is asked for.
    Kafka,
}

/// The designs that `feebox compare` measures. Only the first keeps every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Stores an event with the quote; a worker delivers it.
    Outbox,
    /// Calls the destination before the commit: slow, and a rollback leaves a ghost.
    InTransaction,
    /// Starts a call before the commit without waiting for it: a rollback leaves a ghost.
    BeforeCommitAsync,
    /// Calls the destination after the commit: a crash in between loses the call.
    AfterCommit,
}

impl Submission {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            strategy: fields.choice(
                "submission.strategy",
                &[
                    ("outbox", Strategy::Outbox),
                    ("in-transaction", Strategy::InTransaction),
                    ("before-commit-async", Strategy::BeforeCommitAsync),
                    ("after-commit", Strategy::AfterCommit),
                ],
            ),
            destination: fields.choice(
                "submission.destination",
                &[("fee-server", QuoteDestination::FeeServer), ("kafka", QuoteDestination::Kafka)],
            ),
            compensate: fields.flag("submission.compensate"),
        }
    }
}

/// Without brokers no quote would ever be confirmed.
pub(super) fn refuse_kafka_without_brokers(submission: &Submission, kafka: &Kafka, fields: &mut Fields) {
    let may_judge = fields.are_valid(&["submission.destination", "kafka.brokers"]);
    if may_judge && submission.destination == QuoteDestination::Kafka && kafka.brokers.is_none() {
        fields.refuse(
            "submission.destination",
            "is kafka, but kafka.brokers is empty",
            "set kafka.brokers, or choose fee-server",
        );
    }
}
