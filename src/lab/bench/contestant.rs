//! Who is measured.

use std::path::PathBuf;

/// One that does the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// Bare `sqlx`, a transaction for each quote.
    ByHand,
    /// Bare `sqlx`, callers share transactions.
    ByHandTogether,
    /// A `feebox` binary.
    Feebox { name: &'static str, binary: PathBuf },
}

impl Contestant {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ByHand => "by hand",
            Self::ByHandTogether => "by hand, together",
            Self::Feebox { name, .. } => name,
        }
    }

    pub(super) fn is_by_hand(&self) -> bool {
        matches!(self, Self::ByHand | Self::ByHandTogether)
    }
}
