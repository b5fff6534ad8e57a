//! The other designs: ways to hand a quote over without an outbox, to the fee server or to Kafka. Each breaks a promise on
//! purpose; `feebox compare` counts how often.
//!
//! | design | calls the destination | consequence |
//! | --- | --- | --- |
//! | `in-transaction` | before the commit, and waits | a submission lasts as long as the call, and a rollback after it leaves a ghost |
//! | `before-commit-async` | before the commit, and does not wait | a rollback leaves a ghost, a crash loses the call |
//! | `after-commit` | after the commit, and does not wait | a crash in between loses the call |
//! | … with `submission.compensate` | the same | a call that finally fails cancels the quote; after a crash the sweeper finds it |
//!
//! Each is a [`Handover`](crate::submission::Handover), as the outbox recorder is, which breaks no promise.

mod compensation;
mod configured;
mod in_transaction;
mod rollback;
mod sender;
mod target;
mod without_waiting;

pub use configured::{Configured, configured};
pub use rollback::{ROLLBACK_RATE, RollbackSome};
pub use sender::Sender;
