//! What an attempt came to.

use std::time::Duration;

/// What an attempt came to. An outcome is an answer and never an error: `Err` is kept for what breaks on our side.
///
/// `R` is what the destination hands back for a delivery, for example the fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The destination has the event.
    Delivered(R),
    /// It failed and left nothing behind: try again by the retry policy.
    Retry(String),
    /// The destination asked us not to call before this time has passed (`Retry-After`). The wait holds for the fleet
    /// and spends no attempt.
    RetryAfter(String, Duration),
    /// It may have reached the destination: look before sending again.
    Unknown(String),
    /// The destination will never take this event.
    Refused(String),
    /// The destination answered what its contract does not know. Whether it has the event is unknown, and trying again
    /// would not tell.
    Broken(String),
    /// Our credentials are refused: no event is to blame, and none goes dead for it.
    Unauthorised(String),
    /// It never left the worker (drain, lease nearly over): handed back, no attempt spent.
    NotSent(String),
}

impl<R> Outcome<R> {
    /// The same, handing something else back.
    pub fn map<T>(self, change: impl FnOnce(R) -> T) -> Outcome<T> {
        match self {
            Self::Delivered(receipt) => Outcome::Delivered(change(receipt)),
            Self::Retry(error) => Outcome::Retry(error),
            Self::RetryAfter(error, wait) => Outcome::RetryAfter(error, wait),
            Self::Unknown(error) => Outcome::Unknown(error),
            Self::Refused(error) => Outcome::Refused(error),
            Self::Broken(error) => Outcome::Broken(error),
            Self::Unauthorised(error) => Outcome::Unauthorised(error),
            Self::NotSent(error) => Outcome::NotSent(error),
        }
    }

    /// One word, for metrics, logs and the `failures` of an event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Retry(_) | Self::RetryAfter(..) => "retry",
            Self::Unknown(_) => "unknown",
            Self::Refused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Unauthorised(_) => "unauthorised",
            Self::NotSent(_) => "not_sent",
        }
    }

    /// What went wrong, in one line; nothing for a delivery.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Delivered(_) => None,
            Self::Retry(error)
            | Self::RetryAfter(error, _)
            | Self::Unknown(error)
            | Self::Refused(error)
            | Self::Broken(error)
            | Self::Unauthorised(error)
            | Self::NotSent(error) => Some(error),
        }
    }
}
