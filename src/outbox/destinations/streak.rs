//! Failures of a destination in a row.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Failures since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// Those of one event that follow each other count as one.
    pub(super) count: i32,
    /// The event that failed last; none if no event can be the cause.
    pub(super) event: Option<Uuid>,
    pub(super) since: Option<DateTime<Utc>>,
}

impl Streak {
    /// The only event that has failed.
    pub(super) fn alone(&self) -> Option<Uuid> {
        self.event.filter(|_| self.count == 1)
    }
}
