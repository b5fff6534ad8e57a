//! The design that the settings choose.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{AfterCommit, BeforeCommitAsync, Compensation, InTransaction, Sender};
use crate::{
    database::Database,
    destination::{FeeServer, FeeServerError},
    outbox::RetryPolicy,
    relay::Relay,
    settings::{Settings, Strategy},
    submission::{Listener, OutboxRecorder},
};

/// How submitted quotes get their fees.
#[derive(Clone)]
pub struct Chosen {
    /// What happens at each submission.
    pub listener: Arc<dyn Listener>,
    /// What calls the fee server from this process's memory; none with the outbox.
    pub sender: Option<Sender>,
}

/// The design of `submission.strategy`; `settled` is told after each quote that it settles.
///
/// # Errors
/// The fee server's client cannot be built.
pub fn chosen(settings: &Settings, db: &Database, settled: &Arc<Notify>) -> Result<Chosen, FeeServerError> {
    if settings.submission.strategy == Strategy::Outbox {
        return Ok(Chosen { listener: Arc::new(OutboxRecorder), sender: None });
    }
    let retry = RetryPolicy::new(settings.retry.clone());
    let calls_max = settings.worker.concurrency;
    let fee_server = FeeServer::new(&settings.fee_server, calls_max)?;
    let relay = Relay::new(&settings.kafka);
    let sender = Sender::new(db.clone(), fee_server, retry.clone(), calls_max, Arc::clone(settled)).relaying(relay);
    let listener: Arc<dyn Listener> = match settings.submission.strategy {
        Strategy::Outbox => Arc::new(OutboxRecorder),
        Strategy::InTransaction => Arc::new(InTransaction::new(sender.clone())),
        Strategy::BeforeCommitAsync => Arc::new(BeforeCommitAsync::new(sender.clone())),
        Strategy::AfterCommit => {
            let compensation = || Compensation::new(db.clone(), retry, Arc::clone(settled), relay);
            Arc::new(AfterCommit::new(sender.clone(), settings.submission.compensate.then(compensation)))
        }
    };
    Ok(Chosen { listener, sender: Some(sender) })
}
