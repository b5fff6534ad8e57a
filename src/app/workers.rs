//! The workers of a process, one for each destination.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::DbErr;
use tokio::sync::Notify;

use super::StartError;
use crate::{
    database::Database,
    destination::{Destination, FeeServer},
    outbox::{Policy, RetryPolicy},
    quotes::Relay,
    settings::Settings,
    supervision::Tasks,
    worker::{Report, Signals, Worker},
};

/// The workers of a process: the fee server's, and Kafka's if there are brokers.
pub struct Workers {
    all: Vec<Arc<dyn Work>>,
    /// Who is woken when something was stored.
    wakes: Vec<Arc<Notify>>,
}

/// A worker, whatever it delivers to.
#[async_trait]
trait Work: Send + Sync {
    fn destination(&self) -> &'static str;
    async fn work(&self);
    async fn run_once(&self) -> Result<Report, DbErr>;
    fn cut_off(&self);
}

#[async_trait]
impl<D: Destination> Work for Worker<D> {
    fn destination(&self) -> &'static str {
        self.destination()
    }

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
    /// Workers called `name`. Each has its own wake, since one wake wakes one.
    ///
    /// # Errors
    /// A destination's client cannot be built.
    pub fn new(settings: &Settings, db: &Database, name: &str, signals: &Signals) -> Result<Self, StartError> {
        let mut workers = Self { all: Vec::new(), wakes: Vec::new() };
        let fee_server = FeeServer::new(&settings.fee_server, settings.worker.concurrency)?.sharing(db);
        let relay = Relay::new(settings);
        workers.add(settings, db, name, fee_server.relaying(relay), signals.settled.clone(), signals);
        #[cfg(feature = "kafka")]
        if settings.kafka.brokers.is_some() {
            let kafka = crate::destination::Kafka::new(&settings.kafka, settings.worker.lease)?;
            // Of mere news nobody waits to hear that Kafka has it.
            let is_waited_for = settings.submission.destination == crate::settings::QuoteDestination::Kafka;
            let settled = if is_waited_for { signals.settled.clone() } else { Arc::default() };
            workers.add(settings, db, name, kafka, settled, signals);
        }
        Ok(workers)
    }

    fn add<D: Destination>(
        &mut self,
        settings: &Settings,
        db: &Database,
        name: &str,
        destination: D,
        settled: Arc<Notify>,
        signals: &Signals,
    ) {
        let policy = Policy {
            retry: RetryPolicy::new(settings.retry.clone()),
            circuit: settings.circuit.clone(),
            retry_after_max: settings.fee_server.retry_after_max,
        };
        let wake = Arc::<Notify>::default();
        let signals = Signals { wake: Arc::clone(&wake), settled, drain: signals.drain.clone() };
        let worker =
            Worker::new(db.clone(), Arc::new(destination), policy, settings.worker.clone(), name.into(), signals);
        self.all.push(Arc::new(worker));
        self.wakes.push(wake);
    }

    /// Delivers all that is due, destination after destination: what the fee server answers is news for Kafka.
    ///
    /// # Errors
    /// What the database answers; what was delivered until then is settled.
    pub async fn run_once(&self) -> Result<Vec<(&'static str, Report)>, DbErr> {
        let mut reports = Vec::new();
        for worker in &self.all {
            reports.push((worker.destination(), worker.run_once().await?));
        }
        Ok(reports)
    }

    /// Starts them; they wait to be woken.
    pub(super) fn start(&self, signals: &Signals, tasks: &mut Tasks) {
        for worker in &self.all {
            let worker = Arc::clone(worker);
            tasks.spawn(worker.destination(), move || {
                let worker = Arc::clone(&worker);
                async move { worker.work().await }
            });
        }
        let (wakes, signals) = (self.wakes.clone(), signals.clone());
        tasks.spawn("wakes", move || wake_all(wakes.clone(), signals.clone()));
    }

    /// Ends deliveries that are in the air; what they come to is unknown, and settled as that.
    pub(super) fn cut_off(&self) {
        for worker in &self.all {
            worker.cut_off();
        }
    }
}

/// Whoever says that something was stored says it to all. What the first, the fee server's, settles is news for the
/// others.
async fn wake_all(wakes: Vec<Arc<Notify>>, signals: Signals) {
    let others = wakes.get(1..).unwrap_or_default();
    loop {
        tokio::select! {
            () = signals.drain.cancelled() => return,
            () = signals.wake.notified() => wakes.iter().for_each(|wake| wake.notify_one()),
            () = signals.settled.notified(), if !others.is_empty() => others.iter().for_each(|wake| wake.notify_one()),
        }
    }
}
