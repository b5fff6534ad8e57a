//! `feebox config`

use clap::Args;

use super::Overrides;

/// Options of `feebox config`.
#[derive(Args, Debug)]
pub struct Config {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(settings.redacted())?);
        } else {
            say!("{}", settings.redacted());
        }
        Ok(())
    }
}
