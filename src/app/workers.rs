//! The workers of a process, one for each destination.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::DbErr;

use crate::{
    database::Database,
    destination::{ClientError, Destination, FeeServer},
    fleet::Member,
    outbox::{DestinationName, Policy, RetryPolicy},
    quotes::{FEE_SERVER, Relay},
    settings::{self, Settings},
    supervision::Tasks,
    worker::{Report, Signals, Worker},
};

/// The workers of a process: the fee server's, and Kafka's if there are brokers.
pub struct Workers {
    all: Vec<(&'static DestinationName, Arc<dyn Work>)>,
}

/// A worker, whatever it delivers to.
#[async_trait]
trait Work: Send + Sync {
    async fn work(&self);
    async fn run_once(&self) -> Result<Report, DbErr>;
    fn cut_off(&self);
}

#[async_trait]
impl<D: Destination> Work for Worker<D> {
    async fn work(&self) {
        self.work().await;
    }

    async fn run_once(&self) -> Result<Report, DbErr> {
        self.run_once().await
    }

    fn cut_off(&self) {
        self.cut_off();
    }
}

impl Workers {
    /// The workers of `process`.
    ///
    /// # Errors
    /// A destination's client cannot be built.
    pub fn new(settings: &Settings, db: &Database, process: &Member, signals: &Signals) -> Result<Self, ClientError> {
        let fee_server = FeeServer::new(&settings.fee_server, settings.worker.concurrency)?.sharing(db);
        let fee_server = fee_server.relaying(Relay::new(settings));
        let mut workers = Self { all: Vec::new() };
        workers.all.push((
            &FEE_SERVER,
            Arc::new(worker_for(settings, settings.worker.clone(), db, process, fee_server, signals.clone())),
        ));
        #[cfg(feature = "kafka")]
        if settings.kafka.brokers.is_some() {
            let kafka = crate::destination::Kafka::new(&settings.kafka)?;
            // Clients wait for Kafka only where it is the destination of quotes.
            let is_waited_for = settings.submission.destination == settings::QuoteDestination::Kafka;
            let settled = if is_waited_for { signals.settled.clone() } else { crate::worker::Signal::default() };
            let own = Signals { settled, ..signals.clone() };
            // The fee server's answers are news for Kafka.
            let places = settings::Worker { concurrency: settings.kafka.in_flight, ..settings.worker.clone() };
            let worker = worker_for(settings, places, db, process, kafka, own).also_woken_by(signals.settled.clone());
            workers.all.push((&crate::quotes::KAFKA, Arc::new(worker)));
        }
        Ok(workers)
    }

    /// Delivers all that is due, destination after destination: the fee server's answers are news for Kafka.
    ///
    /// # Errors
    /// Any database error. What was delivered before that is settled.
    pub async fn run_once(&self) -> Result<Vec<(&'static str, Report)>, DbErr> {
        let mut reports = Vec::new();
        for (destination, worker) in &self.all {
            reports.push((destination.as_str(), worker.run_once().await?));
        }
        Ok(reports)
    }

    /// Starts them.
    pub(super) fn start(&self, tasks: &mut Tasks) {
        for (destination, worker) in &self.all {
            let worker = Arc::clone(worker);
            tasks.spawn(destination.as_str(), move || {
                let worker = Arc::clone(&worker);
                async move { worker.work().await }
            });
        }
    }

    /// Ends the running deliveries. Their outcome is unknown, and is settled as that.
    pub(super) fn cut_off(&self) {
        for (_, worker) in &self.all {
            worker.cut_off();
        }
    }
}

fn worker_for<D: Destination>(
    settings: &Settings,
    places: settings::Worker,
    db: &Database,
    process: &Member,
    destination: D,
    signals: Signals,
) -> Worker<D> {
    let policy = Policy {
        retry: RetryPolicy::new(settings.retry.clone()),
        circuit: settings.circuit.clone(),
        retry_after_max: settings.fee_server.retry_after_max,
    };
    let name = process.name.clone();
    let worker = Worker::new(db.clone(), Arc::new(destination), policy, places, name, signals);
    worker.reporting_to(process.vitals.clone())
}
