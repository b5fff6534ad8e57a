//! `feebox serve`

use clap::Args;

use super::{Overrides, told_to_stop};
use crate::app::{App, Roles};

/// The submission service.
#[derive(Args, Debug)]
pub struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.with("server.bind", self.bind).settings_with_logs()?;
        let app = App::start(settings, Roles { api: true, worker: false }).await?;
        app.run_until(told_to_stop()).await?;
        Ok(())
    }
}
