//! An app that does what is due and ends.

use std::sync::Arc;

use super::{Parts, StartError, Workers, jobs};
use crate::{outbox, settings::Settings, worker::Report};

/// A worker that somebody else's cron starts, and that does not stay.
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
        let parts = Parts::new(settings).await?;
        let workers = Workers::new(&parts.settings, &parts.db, &parts.name, &parts.signals)?;
        Ok(Self { parts: Arc::new(parts), workers: Arc::new(workers) })
    }

    /// Delivers all that is due, then does the fleet's upkeep as far as its schedules have come due: in this order, so that
    /// the sweeper finds no quote whose fee was about to come. What it cancels is voided at the next run.
    ///
    /// # Errors
    /// What the database answers, or a schedule that is no cron expression; what was done until then is done.
    pub async fn run(&self) -> anyhow::Result<Vec<(&'static str, Report)>> {
        // First: what was stored by a clock that ran ahead is due, too.
        outbox::repair_future_times(&self.parts.db).await?;
        let reports = self.workers.run_once().await?;
        let drain = &self.parts.signals.drain;
        for (upkeep, _) in jobs::jobs(&self.parts)? {
            tokio::select! {
                biased;
                // What is left of it is done at its next tick.
                () = drain.cancelled() => break,
                done = upkeep.run_if_due() => done?,
            };
        }
        Ok(reports)
    }

    /// Claims nothing more. What is in the air may finish within `worker.shutdown_grace`, and is cut off then.
    pub async fn stop(&self) {
        self.parts.signals.drain.cancel();
        tokio::time::sleep(self.parts.settings.worker.shutdown_grace).await;
        self.workers.cut_off();
    }
}
