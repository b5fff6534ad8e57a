//! An app that does what is due and ends.

use std::sync::Arc;

use super::{Parts, StartError, Workers, audits, jobs};
use crate::{fleet::Role, outbox, series, settings::Settings, worker::Report};

/// A worker that an external cron starts.
#[derive(Clone)]
pub struct Once {
    parts: Arc<Parts>,
    workers: Arc<Workers>,
}

impl Once {
    /// Does nothing yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn prepare(settings: Settings) -> Result<Self, StartError> {
        let parts = Parts::new(settings, Role::Once).await?;
        let workers = Workers::new(&parts.settings, &parts.db, &parts.member, &parts.signals)?;
        Ok(Self { parts: Arc::new(parts), workers: Arc::new(workers) })
    }

    /// Delivers all that is due, then does the jobs that are due: in this order, so that the sweeper finds no quote whose
    /// fee was about to come. The fees of quotes that it cancels are voided at the next run.
    ///
    /// # Errors
    /// Any database error, or a schedule that is no cron expression. What was done before that stays done.
    pub async fn run(&self) -> anyhow::Result<Vec<(&'static str, Report)>> {
        // First: what a clock that ran ahead has put off is due, too.
        outbox::repair_future_times(&self.parts.db).await?;
        let reports = self.workers.run_once().await?;
        self.parts.member.has_run(&self.parts.db).await?;
        let drain = &self.parts.signals.drain;
        for upkeep in jobs::jobs(&self.parts)? {
            tokio::select! {
                biased;
                // The rest is done at its next tick.
                () = drain.cancelled() => break,
                done = upkeep.run_if_due() => done?,
            };
        }
        audits::run_if_requested(&self.parts).await?;
        series::leave(&self.parts.db).await;
        Ok(reports)
    }

    /// Claims nothing more. Running deliveries may finish within `worker.shutdown_grace`, and are cut off then.
    pub async fn stop(&self) {
        self.parts.signals.drain.cancel();
        tokio::time::sleep(self.parts.settings.worker.shutdown_grace).await;
        self.workers.cut_off();
    }
}
