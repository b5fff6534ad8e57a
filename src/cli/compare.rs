//! `feebox compare`

use clap::Args;

use super::{Overrides, print, until_stopped};
use crate::lab::compare::Comparison;

/// Options of `feebox compare`.
#[derive(Args, Debug)]
pub struct Compare {
    #[command(flatten)]
    comparison: Comparison,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        overrides.refuse_settings()?;
        let comparison = Comparison { database_url: overrides.database_url, ..self.comparison };
        let report = until_stopped(Box::pin(comparison.run(|progress| eprintln!("{progress}")))).await?;
        if self.json {
            return print::json(&report);
        }
        say!("{}", report.tables());
        Ok(())
    }
}
