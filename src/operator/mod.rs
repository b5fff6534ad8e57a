//! What operators do: they retry and cancel events, cancel quotes, and pause destinations.
//!
//! It uses both quotes and the outbox: retrying a dead event reopens its quote, and cancelling an event cancels its quote. Each
//! change and its entry in the log of [`actions`] are one transaction; a [`bulk`] is many of these, and one entry.

pub mod actions;
mod audit;
pub mod bulk;
mod cancel;
mod cancel_many;
mod cancel_quote;
mod destinations;
mod retry;

use sea_orm::DbErr;

use crate::{database::DatabaseFailure, printable::printable, quotes::new_quote::parse_text};

pub use actions::{Action, ActionFilter, ActionView};
pub use audit::request_audit;
pub use bulk::{BulkView, NewBulk, Which};
pub use cancel::cancel;
pub use cancel_quote::cancel_quote;
pub use destinations::{limit, pause, resume};
pub use retry::retry;

/// Who acts, and why.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    /// The token's name, or the operating system's user for the command line.
    pub name: &'a str,
    /// In the operator's words.
    pub reason: Option<&'a str>,
}

/// Most characters of a reason.
const REASON_LENGTH_MAX: usize = 500;

/// Takes a reason of 1 to 500 characters and makes it printable: other operators will read it in a terminal or on a page.
///
/// # Errors
/// What is wrong, and what to send instead.
pub fn parse_reason(text: &str) -> Result<String, String> {
    parse_text(text, REASON_LENGTH_MAX).map(|reason| printable(&reason, REASON_LENGTH_MAX))
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// Its current state does not allow the change, for this reason.
    #[error("{0}")]
    Conflict(String),
    /// The database failed; the call may be repeated.
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
    /// There is no such event any more.
    pub(crate) fn no_event(id: uuid::Uuid) -> Self {
        Self::NotFound(format!("event {id}; if it was delivered or cancelled, retention may have deleted it"))
    }
}
