//! `feebox worker`

use clap::Args;

use super::{Overrides, stop_signal};
use crate::{
    app::{App, Once, Roles, StopSignals},
    settings::Settings,
};

/// Options of `feebox worker`.
#[derive(Args, Debug)]
pub struct Worker {
    /// Deliver all due events, run the jobs that are due, then exit: for an external scheduler
    #[arg(long)]
    once: bool,
    /// Address of health checks and metrics
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    bind: Option<String>,
}

impl Worker {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.with("worker.bind", self.bind).settings_with_logs()?;
        if self.once {
            return run_once(settings).await;
        }
        let signals = StopSignals::listen()?;
        let app = App::start(settings, Roles { api: false, worker: true }).await?;
        app.run_until(signals).await
    }
}

async fn run_once(settings: Settings) -> anyhow::Result<()> {
    let once = Once::prepare(settings).await?;
    tokio::spawn({
        let once = once.clone();
        async move {
            if stop_signal().await.is_ok() {
                once.stop().await;
            }
        }
    });
    for (destination, report) in once.run().await? {
        say!("{destination}: {report}");
    }
    Ok(())
}
