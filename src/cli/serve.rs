//! `feebox serve`

use clap::Args;

use super::Overrides;
use crate::app::{App, Roles, StopSignals};

/// Options of `feebox serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.with("server.bind", self.bind).settings_with_logs()?;
        let signals = StopSignals::listen()?;
        let app = App::start(settings, Roles { api: true, worker: false }).await?;
        app.run_until(signals).await
    }
}
