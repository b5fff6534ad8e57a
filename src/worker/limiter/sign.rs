//! What a call's outcome says about load.

use crate::outbox::Outcome;

/// What a call says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It was answered.
    Success,
    /// It failed, or was refused for now.
    Failure,
    /// This process could not send it.
    OutOfResources,
    /// It failed in a way that has nothing to do with load.
    Nothing,
    /// It was handed back unsent.
    NotSent,
}

impl<R> From<&Outcome<R>> for Sign {
    fn from(outcome: &Outcome<R>) -> Self {
        match outcome {
            // A refusal is an answer.
            Outcome::Delivered(_) | Outcome::Refused(_) => Self::Success,
            Outcome::Retry(_) | Outcome::Unreachable(_) | Outcome::RetryAfter(..) | Outcome::Unknown(_) => {
                Self::Failure
            }
            Outcome::OutOfResources(_) => Self::OutOfResources,
            Outcome::Broken(_)
            | Outcome::Misdirected { .. }
            | Outcome::Unauthorised(_)
            | Outcome::LaneUnusable(_)
            | Outcome::Forbidden(_) => Self::Nothing,
            Outcome::NotSent(_) | Outcome::PutOff(..) => Self::NotSent,
        }
    }
}

/// A count to calculate with.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}
