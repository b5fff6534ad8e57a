//! The design of `submission.strategy`.

use std::sync::Arc;

use super::{
    Sender,
    compensation::Compensation,
    in_transaction::InTransaction,
    target::Target,
    without_waiting::{Start, WithoutWaiting},
};
use crate::{
    database::Database,
    destination::{ClientError, FeeServer},
    outbox::RetryPolicy,
    quotes::Relay,
    settings::{Settings, Strategy},
    submission::{Handover, OutboxRecorder},
    worker::Signal,
};

/// The longest time for a record while a transaction waits for it: it fails before the submission times out.
#[cfg(feature = "kafka")]
const RECORD_PATIENCE_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// How submitted quotes reach their destination.
#[derive(Clone)]
pub struct Configured {
    /// Hands each submitted quote over.
    pub handover: Arc<dyn Handover>,
    /// What calls the destination without an outbox; none with the outbox.
    pub sender: Option<Sender>,
}

/// The design of `submission.strategy`; it sends `settled` after each quote that it settles.
///
/// # Errors
/// The client of its destination cannot be built.
pub fn configured(settings: &Settings, db: &Database, settled: &Signal) -> Result<Configured, ClientError> {
    let outbox = || Arc::new(OutboxRecorder::configured(settings));
    if settings.submission.strategy == Strategy::Outbox {
        return Ok(Configured { handover: outbox(), sender: None });
    }
    let retry = RetryPolicy::new(settings.retry.clone());
    let (target, calls_max) = (target(settings)?, settings.worker.concurrency);
    let relay = Relay::new(settings);
    let retry_after_max = settings.fee_server.retry_after_max;
    let sender = Sender::new(db.clone(), target, retry.clone(), retry_after_max, calls_max, settled.clone(), relay);
    let without_waiting = |start| Arc::new(WithoutWaiting { sender: sender.clone(), start });
    let handover: Arc<dyn Handover> = match settings.submission.strategy {
        Strategy::Outbox => outbox(),
        Strategy::InTransaction => Arc::new(InTransaction { sender: sender.clone() }),
        Strategy::BeforeCommitAsync => without_waiting(Start::BeforeCommit),
        Strategy::AfterCommit => {
            let (db, settled, destination) = (db.clone(), settled.clone(), sender.destination());
            let compensation = || Compensation { db, retry, settled, relay, destination };
            without_waiting(Start::AfterCommit(settings.submission.compensate.then(compensation)))
        }
    };
    Ok(Configured { handover, sender: Some(sender) })
}

fn target(settings: &Settings) -> Result<Target, ClientError> {
    #[cfg(feature = "kafka")]
    if settings.submission.destination == crate::settings::QuoteDestination::Kafka {
        let patience = match settings.submission.strategy {
            Strategy::InTransaction => settings.kafka.delivery_timeout.min(RECORD_PATIENCE_MAX),
            _ => settings.kafka.delivery_timeout,
        };
        let kafka = crate::destination::Kafka::with_patience(&settings.kafka, patience)?;
        return Ok(Target::Kafka(Arc::new(kafka)));
    }
    let fee_server = FeeServer::new(&settings.fee_server, settings.worker.concurrency)?;
    Ok(Target::FeeServer(Arc::new(fee_server)))
}
