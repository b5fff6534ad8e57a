//! What operators do: they retry events and give them up, pause destinations, and leave a trace of it.
//!
//! It sits above both halves of the house, because an operator's hand reaches into both: to retry a dead event brings its
//! quote back, and to give an event up gives up its quote. Each change is one transaction with its line in the log of
//! [`actions`]; a bulk retry is many of these.

pub mod actions;
mod cancel;
mod cancel_quote;
mod destinations;
mod retry;
mod retry_bulk;

use entity::outbox_event::Model as Event;
use sea_orm::DbErr;

use crate::{database::DatabaseFailure, quotes::QUOTE_SUBMITTED};

pub use actions::{Action, ActionFilter, ActionView};
pub use cancel::cancel;
pub use cancel_quote::cancel_quote;
pub use destinations::{pause, resume};
pub use retry::retry;
pub use retry_bulk::{BulkRetried, BulkRetry, retry_bulk};

/// Who acts, and why.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    /// The token's name, or the operating system's user for the command line.
    pub name: &'a str,
    /// In the operator's words.
    pub reason: Option<&'a str>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// What was named is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is there, and can't be done to it as it stands.
    #[error("{0}")]
    Conflict(String),
    /// The database failed; the same call may be made again.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl DatabaseFailure for OperatorError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) => Some(error),
            Self::NotFound(_) | Self::Conflict(_) => None,
        }
    }
}

impl OperatorError {
    fn no_event(id: uuid::Uuid) -> Self {
        Self::NotFound(format!("event {id}; if it was delivered or cancelled, retention may have deleted it"))
    }
}

/// Whether `event` hands its quote over; the fate of the quote hangs on it if that goes to the quote's own destination.
fn hands_over(event: &Event) -> bool {
    event.event_type == QUOTE_SUBMITTED
}
