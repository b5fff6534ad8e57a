//! What an event remembers of an attempt that failed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Event;

/// How many failed attempts an event remembers.
pub(super) const FAILURES_MAX: usize = 20;

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Its number, from 1. An operator's retry starts at 1 again.
    pub attempt: i32,
    /// `retry`, `unknown`, `refused`, `broken` or `unauthorised`.
    pub outcome: String,
    /// What went wrong, in one line.
    pub error: String,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u64,
    /// The worker that made it.
    pub by: String,
    /// Why no attempt follows, if that is more than the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
}

impl Failure {
    /// The last 20 of `event`, oldest first. Malformed ones are skipped, so that the event can still be shown.
    #[must_use]
    pub fn all(event: &Event) -> Vec<Self> {
        Self::all_in(&event.failures)
    }

    pub(super) fn all_in(failures: &Value) -> Vec<Self> {
        let failures = failures.as_array().map(Vec::as_slice).unwrap_or_default();
        failures.iter().filter_map(|failure| Self::deserialize(failure).ok()).collect()
    }

    /// The HTTP status of the answer, if there was one: errors of answers begin with it.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        Self::status_in(&self.error)
    }

    /// The HTTP status with which `error` begins.
    #[must_use]
    pub fn status_in(error: &str) -> Option<u16> {
        let error = error.strip_prefix("look-up: ").unwrap_or(error);
        let (status, _) = error.split_once(' ')?;
        status.parse().ok().filter(|status| (100..600).contains(status))
    }

    /// As it is stored.
    pub(super) fn into_json(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
