//! `sweeper.*`, `retention.*` and `audit.*`: what runs now and then beside the deliveries.

use std::time::Duration;

use super::fields::Fields;

/// What happens to quotes that stay pending.
#[derive(Clone, Debug)]
pub struct Sweeper {
    /// When to look for them: cron, six fields, UTC.
    pub schedule: String,
    /// Age from which a pending quote is stale.
    pub stale_after: Duration,
    /// What to do about it.
    pub action: SweepAction,
}

/// What to do about a stale quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAction {
    /// Log and count it.
    Alert,
    /// Cancel it.
    Cancel,
}

/// How long what is over is kept. Dead events are kept for ever.
#[derive(Clone, Debug)]
pub struct Retention {
    /// When to prune: cron, six fields, UTC.
    pub schedule: String,
    /// How long a delivered or cancelled event is kept, counted from then.
    pub delivered_for: Duration,
    /// How long a client's idempotency key is remembered.
    pub idempotency_keys_for: Duration,
}

/// When the promises are checked.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Cron, six fields, UTC.
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
