//! The other designs: ways to hand a quote over without an outbox, to the fee server or to Kafka. Each breaks a promise on
//! purpose; `feebox compare` counts how often.
//!
//! | design | calls the destination | consequence |
//! | --- | --- | --- |
//! | [`InTransaction`] | before the commit, and waits | a submission lasts as long as the call, and a rollback after it leaves a ghost |
//! | [`BeforeCommitAsync`] | before the commit, and does not wait | a rollback leaves a ghost, a crash loses the call |
//! | [`AfterCommit`] | after the commit, and does not wait | a crash in between loses the call |
//! | … with [`Compensation`] | the same | a call that finally fails cancels the quote; after a crash the sweeper finds it |
//!
//! Each is a [`Handover`](crate::submission::Handover), as the outbox recorder is, which breaks no promise.

mod after_commit;
mod before_commit_async;
mod compensation;
mod configured;
mod in_transaction;
mod rollback;
mod sender;
mod target;

pub use after_commit::AfterCommit;
pub use before_commit_async::BeforeCommitAsync;
pub use compensation::Compensation;
pub use configured::{Configured, StrategyError, configured};
pub use in_transaction::InTransaction;
pub use rollback::{ROLLBACK_RATE, RollbackSome};
pub use sender::Sender;
pub use target::Target;
