//! How an attempt ended.

use std::time::Duration;

use crate::printable::printable;

/// How much of an error's text is kept, in characters.
pub(super) const ERROR_LENGTH_MAX: usize = 500;

/// How an attempt ended. An outcome is a result, never an error: `Err` is for failures on our side.
///
/// `R` is what the destination returns for a delivery, for example the fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The destination has the event.
    Delivered(R),
    /// It failed and had no effect: it is retried by the retry policy.
    Retry(String),
    /// There was no connection: refused, no such name, no TLS. It is no event's fault, and nothing was sent.
    Unreachable(String),
    /// The destination asked not to be called for this long (`Retry-After`). The wait applies to the whole fleet and spends no
    /// attempt.
    RetryAfter(String, Duration),
    /// It may have reached the destination: the next attempt looks up before it sends.
    Unknown(String),
    /// The destination will never take this event.
    Refused(String),
    /// The answer breaks the destination's contract. Whether the destination has the event is unknown, and a retry would not
    /// tell.
    Broken(String),
    /// A proxy answered in the destination's place, or the destination does not know the address. That is true for every
    /// event, so it is no event's fault and none goes dead for it. It counts towards the circuit.
    Misdirected {
        /// The answer, in one line.
        error: String,
        /// The event may have reached the destination: the next attempt looks up before it sends.
        unknown: bool,
    },
    /// Our credentials are refused. It is no event's fault, and none goes dead for it.
    Unauthorised(String),
    /// Refused with 403: either our credentials are refused, or a firewall rejects this one event. Whether others are delivered
    /// shows which.
    Forbidden(String),
    /// The destination says that the event's lane is unusable: no such topic, or no right to write it. It is no event's fault, and
    /// none goes dead for it. It opens the lane's circuit.
    LaneUnusable(String),
    /// This process lacks a resource, such as a file descriptor or memory. The event is handed back and no attempt is spent. It
    /// says nothing about the destination.
    OutOfResources(String),
    /// It never left the worker (drain, lease nearly over). The event is handed back and no attempt is spent.
    NotSent(String),
    /// It never left the worker: the part of the destination that it goes to does not answer at present. It is handed back, due
    /// after this wait, and no attempt is spent.
    PutOff(String, Duration),
}

impl<R> Outcome<R> {
    /// The same outcome with another receipt.
    pub fn map<T>(self, change: impl FnOnce(R) -> T) -> Outcome<T> {
        self.convert(change, |error| error)
    }

    /// The same outcome with an error that can be stored and shown, whatever a destination or a library wrote into it.
    #[must_use]
    pub fn printable(self) -> Self {
        self.convert(|receipt| receipt, |error| printable(&error, ERROR_LENGTH_MAX))
    }

    fn convert<T>(self, receipt: impl FnOnce(R) -> T, error: impl FnOnce(String) -> String) -> Outcome<T> {
        match self {
            Self::Delivered(of) => Outcome::Delivered(receipt(of)),
            Self::Retry(why) => Outcome::Retry(error(why)),
            Self::Unreachable(why) => Outcome::Unreachable(error(why)),
            Self::RetryAfter(why, wait) => Outcome::RetryAfter(error(why), wait),
            Self::Unknown(why) => Outcome::Unknown(error(why)),
            Self::Refused(why) => Outcome::Refused(error(why)),
            Self::Broken(why) => Outcome::Broken(error(why)),
            Self::Misdirected { error: why, unknown } => Outcome::Misdirected { error: error(why), unknown },
            Self::Unauthorised(why) => Outcome::Unauthorised(error(why)),
            Self::Forbidden(why) => Outcome::Forbidden(error(why)),
            Self::LaneUnusable(why) => Outcome::LaneUnusable(error(why)),
            Self::PutOff(why, wait) => Outcome::PutOff(error(why), wait),
            Self::OutOfResources(why) => Outcome::OutOfResources(error(why)),
            Self::NotSent(why) => Outcome::NotSent(error(why)),
        }
    }

    /// One word, for metrics, logs and the `failures` of an event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Retry(_)
            | Self::Unreachable(_)
            | Self::RetryAfter(..)
            | Self::Misdirected { unknown: false, .. }
            | Self::LaneUnusable(_) => "retry",
            Self::Unknown(_) | Self::Misdirected { unknown: true, .. } => "unknown",
            Self::Refused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Unauthorised(_) | Self::Forbidden(_) => "unauthorised",
            Self::NotSent(_) | Self::OutOfResources(_) | Self::PutOff(..) => "not_sent",
        }
    }

    /// What went wrong, in one line; `None` for a delivery.
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
            | Self::LaneUnusable(error)
            | Self::PutOff(error, _)
            | Self::Unauthorised(error)
            | Self::Forbidden(error)
            | Self::OutOfResources(error)
            | Self::NotSent(error) => Some(error),
        }
    }

    /// Whether it never left the worker: the event goes back as it was.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::OutOfResources(_) | Self::PutOff(..))
    }
}
