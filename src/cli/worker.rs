//! `feebox worker`

use clap::Args;

use super::{Overrides, told_to_stop};
use crate::{
    app::{App, Once, Roles},
    settings::Settings,
};

/// A worker.
#[derive(Args, Debug)]
pub struct Worker {
    /// Deliver what is due, sweep, prune and audit if that is due, then exit: for a cron that already runs
    #[arg(long)]
    once: bool,
    /// Where to serve health and metrics
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    bind: Option<String>,
}

impl Worker {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.with("worker.bind", self.bind).settings_with_logs()?;
        if self.once {
            return run_once(settings).await;
        }
        let app = App::start(settings, Roles { api: false, worker: true }).await?;
        app.run_until(told_to_stop()).await?;
        Ok(())
    }
}

async fn run_once(settings: Settings) -> anyhow::Result<()> {
    let once = Once::prepare(settings).await?;
    tokio::spawn({
        let once = once.clone();
        async move {
            if told_to_stop().await.is_ok() {
                once.stop().await;
            }
        }
    });
    for (destination, report) in once.run().await? {
        say!("{destination}: {report}");
    }
    Ok(())
}
