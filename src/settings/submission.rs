//! `submission.*`: how a submitted quote gets its fee.

use super::fields::Fields;

/// How a submitted quote gets its fee.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The design in use.
    pub strategy: Strategy,
    /// With [`Strategy::AfterCommit`]: whether a call that failed for good cancels the quote.
    pub compensate: bool,
}

/// The designs that `feebox compare` measures. Only the first keeps every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// An event is stored with the quote, and a worker delivers it.
    Outbox,
    /// The fee server is called before the commit: slow, and a rollback leaves a ghost fee.
    InTransaction,
    /// The fee server is called before the commit, and nobody waits for it: a rollback leaves a ghost fee.
    BeforeCommitAsync,
    /// The fee server is called after the commit: a crash in between loses the fee.
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
            compensate: fields.flag("submission.compensate"),
        }
    }
}
