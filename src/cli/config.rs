//! `feebox config`

use clap::Args;

use super::Overrides;

/// The settings in force.
#[derive(Args, Debug)]
pub struct Config {
    /// As JSON
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
