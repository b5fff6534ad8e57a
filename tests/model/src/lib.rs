//! Feebox's delivery protocol as a model, and its promises as properties that are checked over all interleavings.
//!
//! States have the names of the code: [`Status`] is that of a row of `outbox_event`, [`Step`] is how far a worker is with the event
//! that it leased, [`Circuit`] is the destination's. Each [`Action`] names the function that does it. One action is one transaction,
//! one call or one answer, because nothing smaller can be seen by others.
//!
//! What is left out: time itself (a lease ends, a backoff or a cool-down passes whenever the schedule wants it), the second that a
//! worker trusts what it last read of a hold, batches, partners, lanes and Kafka. A worker has one event at a time.
//!
//! Bad luck is bounded: crashes, cut, late and missing answers, refusals and slow workers share one budget,
//! [`Delivery::misfortunes`]. So all runs end, and "eventually" is checked where they do: see [`promises`].
//!
//! [`Delivery::without`] takes one [`Guard`] out of the protocol. The tests show that each of them is needed: without it, some promise
//! has a counterexample, which is printed.

mod action;
mod delivery;
mod enabled;
mod guard;
pub mod promises;
mod settling;
mod state;
mod stepping;

pub use action::Action;
pub use delivery::{Delivery, LookUps};
pub use guard::Guard;
pub use state::{Circuit, Event, Fee, Lease, Leased, Outcome, Quote, QuoteStatus, State, Status, Step, Worker};
