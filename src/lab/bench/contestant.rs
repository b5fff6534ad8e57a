//! Who is measured.

use std::path::PathBuf;

/// One that does the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// Bare `sqlx`, one statement for each quote.
    ByHand,
    /// Bare `sqlx`, a begin, three inserts and a commit.
    ByHandInSteps,
    /// Bare `sqlx`, callers share transactions.
    ByHandTogether,
    /// A bare idempotent producer of Kafka, without an outbox.
    Producer,
    /// A `feebox` binary.
    Feebox { name: &'static str, binary: PathBuf },
}

impl Contestant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ByHand => "by hand",
            Self::ByHandInSteps => "by hand, in steps",
            Self::ByHandTogether => "by hand, together",
            Self::Producer => "bare producer",
            Self::Feebox { name, .. } => name,
        }
    }

    pub(super) fn is_by_hand(&self) -> bool {
        !matches!(self, Self::Feebox { .. })
    }
}
