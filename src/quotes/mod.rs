//! The life of a quote: what a client submits ([`NewQuote`]), its row, its fee record, and the changes of its status.
//!
//! ```text
//!               ┌── confirm ──► confirmed ──┐
//!   pending ────┼── cancel ─────────────────┴─► cancelled
//!      ▲        └── reject ───► rejected
//!      └────────── reopen ──────────┘
//! ```
//!
//! Each transition is one function. It compares and sets, so that of two concurrent changes one wins; and it stores what
//! others learn of the change ([`Relay`]) in the same transaction. Nothing else changes a quote's status.

mod cancel;
mod cancel_all;
mod confirm;
mod fee_record;
pub mod money;
mod names;
pub mod new_quote;
mod read;
mod reject;
mod relay;
mod reopen;
mod row;
mod summary;

pub use crate::settings::QuoteDestination;
pub use cancel::{CancelError, Cancellation, cancel, cancel_pending};
pub use cancel_all::{LockedQuote, cancel_all, lock_all};
pub use confirm::{Accepted, CallConfirmation, confirm, confirm_call};
pub use entity::quote::{Model as Quote, Status};
pub use fee_record::{Fee, FeeRecord};
pub use names::{
    DESTINATIONS, FEE_CREATED, FEE_SERVER, KAFKA, QUOTE, QUOTE_CANCELLED, QUOTE_REJECTED, QUOTE_SUBMITTED, QuoteEvent,
    TOPICS, is_lane, lanes_of,
};
pub use new_quote::{CurrencyCode, CustomerId, Line, Lines, NewQuote};
pub use read::{QuoteFilter, QuoteWithFee, by_ids, destination, get, get_of, list, of_customer, status};
pub use reject::{Refused, reject};
pub use relay::{Change, News, Relay};
pub use reopen::reopen;
pub use row::insert;
pub use summary::{Money, Summary, ids_with_prefix, summaries};

/// The hot statements as they are sent, for tests that ask databases for their plans.
pub mod statements {
    pub use super::{
        read::{handovers, scan},
        row::change,
    };
}

/// Whose events those of `quote` are; empty if nobody is known to have submitted it.
#[must_use]
pub fn partner(quote: &Quote) -> &str {
    quote.submitted_by.as_deref().unwrap_or_default()
}

/// Whether an event of this type hands its quote over. The quote's status depends on it if it goes to the quote's own
/// destination.
#[must_use]
pub fn is_handover(event_type: &str) -> bool {
    event_type == QUOTE_SUBMITTED.as_str()
}
