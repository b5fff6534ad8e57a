//! What an attempt came to.

use std::time::Duration;

use crate::printable::printable;

/// How much of an error's text is kept, in characters.
pub(super) const ERROR_LENGTH_MAX: usize = 500;

/// What an attempt came to. An outcome is an answer and never an error: `Err` is kept for what breaks on our side.
///
/// `R` is what the destination hands back for a delivery, for example the fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The destination has the event.
    Delivered(R),
    /// It failed and left nothing behind: try again by the retry policy.
    Retry(String),
    /// Nobody took the call: connection refused, no such name, no TLS. No event can be the cause, and nothing was sent.
    Unreachable(String),
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
    /// Something in between answered in the destination's place, or the destination does not know the address: true for
    /// every event, so none is to blame and none goes dead for it. It counts for the circuit.
    Misdirected {
        /// What answered, in one line.
        error: String,
        /// The event may have reached the destination all the same: look before sending again.
        unknown: bool,
    },
    /// Our credentials are refused: no event is to blame, and none goes dead for it.
    Unauthorised(String),
    /// Refused with 403: our credentials, or something in between that dislikes this one event. Whether others are
    /// delivered tells which.
    Forbidden(String),
    /// This process lacks what sending takes, such as a file descriptor or memory: handed back, no attempt spent. It says
    /// nothing about the destination.
    OutOfResources(String),
    /// It never left the worker (drain, lease nearly over): handed back, no attempt spent.
    NotSent(String),
}

impl<R> Outcome<R> {
    /// The same, handing something else back.
    pub fn map<T>(self, change: impl FnOnce(R) -> T) -> Outcome<T> {
        match self {
            Self::Delivered(receipt) => Outcome::Delivered(change(receipt)),
            Self::Retry(error) => Outcome::Retry(error),
            Self::Unreachable(error) => Outcome::Unreachable(error),
            Self::RetryAfter(error, wait) => Outcome::RetryAfter(error, wait),
            Self::Unknown(error) => Outcome::Unknown(error),
            Self::Refused(error) => Outcome::Refused(error),
            Self::Broken(error) => Outcome::Broken(error),
            Self::Misdirected { error, unknown } => Outcome::Misdirected { error, unknown },
            Self::Unauthorised(error) => Outcome::Unauthorised(error),
            Self::Forbidden(error) => Outcome::Forbidden(error),
            Self::OutOfResources(error) => Outcome::OutOfResources(error),
            Self::NotSent(error) => Outcome::NotSent(error),
        }
    }

    /// One word, for metrics, logs and the `failures` of an event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Retry(_) | Self::Unreachable(_) | Self::RetryAfter(..) | Self::Misdirected { unknown: false, .. } => {
                "retry"
            }
            Self::Unknown(_) | Self::Misdirected { unknown: true, .. } => "unknown",
            Self::Refused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Unauthorised(_) | Self::Forbidden(_) => "unauthorised",
            Self::NotSent(_) | Self::OutOfResources(_) => "not_sent",
        }
    }

    /// What went wrong, in one line; nothing for a delivery.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Delivered(_) => None,
            Self::Retry(error)
            | Self::Unreachable(error)
            | Self::RetryAfter(error, _)
            | Self::Unknown(error)
            | Self::Refused(error)
            | Self::Broken(error)
            | Self::Misdirected { error, .. }
            | Self::Unauthorised(error)
            | Self::Forbidden(error)
            | Self::OutOfResources(error)
            | Self::NotSent(error) => Some(error),
        }
    }

    /// The same with an error that can be stored and shown, whatever a destination or a library wrote into it.
    #[must_use]
    pub fn printable(mut self) -> Self {
        match &mut self {
            Self::Delivered(_) => {}
            Self::Retry(error)
            | Self::RetryAfter(error, _)
            | Self::Unreachable(error)
            | Self::Unknown(error)
            | Self::Refused(error)
            | Self::Broken(error)
            | Self::Misdirected { error, .. }
            | Self::Unauthorised(error)
            | Self::Forbidden(error)
            | Self::OutOfResources(error)
            | Self::NotSent(error) => *error = printable(error, ERROR_LENGTH_MAX),
        }
        self
    }

    /// Whether it never left the worker: the event goes back as it was.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::OutOfResources(_))
    }
}
