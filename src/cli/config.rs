//! `feebox config`

use clap::Args;

use super::{Overrides, print};

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
            return print::json(settings.redacted());
        }
        say!("{}", settings.redacted());
        Ok(())
    }
}
