//! The designs, and the settings that make a process behave as one.

use clap::ValueEnum;
use serde::Serialize;

use super::Pace;
use crate::lab::trial::Role;

/// A way to get a fee for a submitted quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// The fee server is called in the transaction, which waits
    InTransaction,
    /// The fee server is called from the transaction, which does not wait
    BeforeCommitAsync,
    /// The fee server is called after the commit
    AfterCommit,
    /// … and a failed call cancels the quote; a sweeper cancels what stays pending
    AfterCommitCompensated,
    /// An outbox, emptied by cron alone
    OutboxCron,
    /// An outbox, emptied by cron and at once after each commit
    OutboxWakeup,
}

impl Design {
    /// From the worst to the best.
    pub const ALL: [Self; 6] = [
        Self::InTransaction,
        Self::BeforeCommitAsync,
        Self::AfterCommit,
        Self::AfterCommitCompensated,
        Self::OutboxCron,
        Self::OutboxWakeup,
    ];

    /// What stands in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InTransaction => "in-transaction",
            Self::BeforeCommitAsync => "before-commit-async",
            Self::AfterCommit => "after-commit",
            Self::AfterCommitCompensated => "after-commit-compensated",
            Self::OutboxCron => "outbox-cron",
            Self::OutboxWakeup => "outbox-wakeup",
        }
    }

    /// The value of `submission.strategy`.
    fn strategy(self) -> &'static str {
        match self {
            Self::InTransaction => "in-transaction",
            Self::BeforeCommitAsync => "before-commit-async",
            Self::AfterCommit | Self::AfterCommitCompensated => "after-commit",
            Self::OutboxCron | Self::OutboxWakeup => "outbox",
        }
    }

    /// Its processes. The sweeper runs in a worker, too, and voids fees through it.
    pub(super) fn roles(self) -> &'static [Role] {
        match self {
            Self::InTransaction | Self::BeforeCommitAsync | Self::AfterCommit => &[Role::Serve],
            Self::AfterCommitCompensated | Self::OutboxCron | Self::OutboxWakeup => &[Role::Serve, Role::Worker],
        }
    }

    /// What differs from the other designs.
    pub(super) fn settings(self) -> Vec<(&'static str, String)> {
        vec![
            ("submission.strategy", self.strategy().to_owned()),
            ("submission.compensate", (self == Self::AfterCommitCompensated).to_string()),
            ("worker.wakeup", (self == Self::OutboxWakeup).to_string()),
        ]
    }

    /// What is added when things go wrong. The sweeper looks every second and not every minute: that shortens the
    /// measurement, and is not to count as a cost before. Nor is it to cancel before: it would take a queue for a loss.
    pub(super) fn settings_of_storm(self, pace: &Pace) -> Vec<(&'static str, String)> {
        let mut settings = vec![("sweeper.schedule", "* * * * * *".to_owned())];
        if self == Self::AfterCommitCompensated {
            let stale_after = humantime::format_duration(pace.stale_after).to_string();
            settings.extend([("sweeper.action", "cancel".to_owned()), ("sweeper.stale_after", stale_after)]);
        }
        settings
    }
}
