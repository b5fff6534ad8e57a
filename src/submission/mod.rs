//! The unit of work: a quote and its events, or nothing.
//!
//! [`Submission::submit`] opens the transaction, stores the quotes, lets the listeners add what must be stored with them,
//! and commits. What else happens because a quote was submitted is a [`Listener`]; the outbox recorder is one of them.

mod cancel;
mod in_flight;
mod listener;
pub mod new_quote;
mod recorder;
mod relay;
mod retention;
mod run;
mod submit;

pub use cancel::{CancelError, cancel, void};
pub use listener::{Listener, ListenerError, Submitted};
pub use new_quote::{CurrencyCode, CustomerId, Line, Lines, NewQuote};
pub use recorder::{OutboxRecorder, fee_request};
pub use retention::{ages, deletion, prune_keys};
pub use submit::{ClientKey, StoredQuotes, Submission, SubmissionError};
