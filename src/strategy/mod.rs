//! The other designs: ways to hand a quote over without an outbox, to the fee server or to Kafka. Each breaks a promise on
//! purpose; `feebox compare` counts how often.
//!
//! | design | calls the destination | and so |
//! | --- | --- | --- |
//! | [`InTransaction`] | before the commit, and waits | a submission lasts as long as the call, and a rollback after it leaves a ghost |
//! | [`BeforeCommitAsync`] | before the commit, and does not wait | a rollback leaves a ghost, a death loses the call |
//! | [`AfterCommit`] | after the commit, and does not wait | a death in between loses the call |
//! | … with [`Compensation`] | the same | a call that failed for good cancels the quote; a death is the sweeper's to find |
//!
//! All are listeners of the same phases as the outbox recorder, which needs none of this and breaks none.

mod after_commit;
mod before_commit_async;
mod chosen;
mod compensation;
mod in_transaction;
mod rollback;
mod sender;
mod target;

pub use after_commit::AfterCommit;
pub use before_commit_async::BeforeCommitAsync;
pub use chosen::{Chosen, StrategyError, chosen};
pub use compensation::Compensation;
pub use in_transaction::InTransaction;
pub use rollback::{ROLLBACK_RATE, RollbackSome};
pub use sender::Sender;
pub use target::Target;
