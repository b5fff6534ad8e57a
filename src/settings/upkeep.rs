//! `sweeper.*`, `retention.*` and `audit.*`: periodic jobs.

use std::time::Duration;

use super::fields::Fields;

/// What happens to quotes that stay pending.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// When to run: cron, six fields, UTC.
    pub schedule: String,
    /// The age from which a pending quote is stale.
    pub stale_after: Duration,
    /// What to do with stale quotes.
    pub action: SweepAction,
}

/// What to do with a stale quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAction {
    /// Log and count it.
    Alert,
    /// Cancel it.
    Cancel,
}

/// How long settled events and idempotency keys are kept. Dead events are never deleted.
#[derive(Clone, Debug)]
pub struct Retention {
    /// When to run: cron, six fields, UTC.
    pub schedule: String,
    /// How long an event is kept after it was delivered or cancelled.
    pub delivered_for: Duration,
    /// How long a client's idempotency key is kept.
    pub idempotency_keys_for: Duration,
}

/// When the promises are checked.
#[derive(Clone, Debug)]
pub struct Audit {
    /// When to run: cron, six fields, UTC.
    pub schedule: String,
}

impl Sweeper {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let actions = [("alert", SweepAction::Alert), ("cancel", SweepAction::Cancel)];
        Self {
            schedule: fields.schedule("sweeper.schedule"),
            stale_after: fields.duration("sweeper.stale_after", ["1s", "1y"]),
            action: fields.choice("sweeper.action", &actions),
        }
    }
}

impl Retention {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            schedule: fields.schedule("retention.schedule"),
            delivered_for: fields.duration("retention.delivered_for", ["0s", "10y"]),
            idempotency_keys_for: fields.duration("retention.idempotency_keys_for", ["0s", "10y"]),
        }
    }
}

impl Audit {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self { schedule: fields.schedule("audit.schedule") }
    }
}
