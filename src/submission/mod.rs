//! The unit of work: a quote and its events, or nothing.
//!
//! [`Submission::submit`] begins a transaction, stores the client's key and the quotes, hands the quotes over (a
//! [`Handover`]: with the outbox this stores their events), calls the [`Listener`]s, and commits. Listeners are what users
//! add: further reactions to a submitted quote. Calls that arrive while a transaction is under way share the next one.

mod cancel;
mod handover;
mod in_flight;
mod listener;
mod owners;
mod recorder;
mod retention;
mod run;
mod shared;
mod store;
mod submit;

pub use handover::Handover;
pub use listener::{Listener, ListenerError, Submitted};
pub use owners::{give_owner, give_owners};
pub use recorder::{OutboxRecorder, fee_request};
pub use retention::{ages, deletion, prune_keys};
pub use submit::{ClientKey, StoredQuotes, Submission, SubmissionError};
