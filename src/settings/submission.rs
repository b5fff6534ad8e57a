//! `submission.*`: how a submitted quote gets its fee.

use super::{Kafka, fields::Fields};

/// How a submitted quote reaches its destination.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The design in use.
    pub strategy: Strategy,
    /// Which destination decides a quote.
    pub destination: QuoteDestination,
    /// With [`Strategy::AfterCommit`]: whether a call that failed for good cancels the quote.
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
    /// An event is stored with the quote, and a worker delivers it.
    Outbox,
    /// The destination is called before the commit: slow, and a rollback leaves a ghost.
    InTransaction,
    /// The destination is called before the commit, and nobody waits for it: a rollback leaves a ghost.
    BeforeCommitAsync,
    /// The destination is called after the commit: a crash in between loses the call.
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

/// Nobody would ever take a quote.
pub(super) fn refuse_kafka_without_brokers(submission: &Submission, kafka: &Kafka, fields: &mut Fields) {
    let may_judge = fields.are_fit(&["submission.destination", "kafka.brokers"]);
    if may_judge && submission.destination == QuoteDestination::Kafka && kafka.brokers.is_none() {
        fields.refuse(
            "submission.destination",
            "is kafka, but kafka.brokers is empty",
            "set kafka.brokers, or choose fee-server",
        );
    }
}
