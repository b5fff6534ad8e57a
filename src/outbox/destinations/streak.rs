//! Consecutive failures of a destination.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Failures since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// Consecutive failures of one event count as one.
    pub(super) count: i32,
    /// The event that failed last; none if the failure cannot be an event's fault.
    pub(super) event: Option<Uuid>,
    pub(super) since: Option<DateTime<Utc>>,
}

impl Streak {
    /// The only event that has failed.
    pub(super) fn only_event(&self) -> Option<Uuid> {
        self.event.filter(|_| self.count == 1)
    }
}
