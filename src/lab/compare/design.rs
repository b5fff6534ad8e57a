//! The designs, and the settings that make a process behave like one.

use clap::ValueEnum;
use serde::Serialize;

use super::Timing;
use crate::lab::testbed::Role;

/// A way in which a submitted quote gets its fee, from the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Calls the fee server inside the transaction and waits
    InTransaction,
    /// Calls the fee server from the transaction without waiting
    BeforeCommitAsync,
    /// Calls the fee server after the commit
    AfterCommit,
    /// Like after-commit; a failed call cancels the quote, and a sweeper cancels quotes that stay pending
    AfterCommitCompensated,
    /// An outbox; cron ticks alone start deliveries
    OutboxCron,
    /// An outbox; cron ticks and each commit start deliveries
    OutboxWakeup,
}

impl Design {
    /// Its name on the command line and in tables.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
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

    /// The processes of the design. The sweeper runs in a worker, which also voids fees.
    pub(super) fn roles(self) -> &'static [Role] {
        match self {
            Self::InTransaction | Self::BeforeCommitAsync | Self::AfterCommit => &[Role::Serve],
            Self::AfterCommitCompensated | Self::OutboxCron | Self::OutboxWakeup => &[Role::Serve, Role::Worker],
        }
    }

    /// The settings that differ from the other designs.
    pub(super) fn settings(self) -> Vec<(&'static str, String)> {
        vec![
            ("submission.strategy", self.strategy().to_owned()),
            ("submission.compensate", (self == Self::AfterCommitCompensated).to_string()),
            ("worker.wakeup", (self == Self::OutboxWakeup).to_string()),
        ]
    }

    /// Further settings for the storm. The sweeper runs every second instead of every minute to shorten the
    /// measurement; before the storm that would count as a cost. It cancels only in the storm: before, it would take a
    /// queue for a loss.
    pub(super) fn settings_of_storm(self, timing: &Timing) -> Vec<(&'static str, String)> {
        let mut settings = vec![("sweeper.schedule", "* * * * * *".to_owned())];
        if self == Self::AfterCommitCompensated {
            let stale_after = humantime::format_duration(timing.stale_after).to_string();
            settings.extend([("sweeper.action", "cancel".to_owned()), ("sweeper.stale_after", stale_after)]);
        }
        settings
    }
}
