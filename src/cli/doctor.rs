//! `feebox doctor`

use clap::Args;
use serde_json::json;

use super::{Overrides, print};
use crate::doctor::{self, Finding, State};

/// Options of `feebox doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// How long a transaction in the database may be open
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    transaction_age: humantime::Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let mut found = Vec::new();
        doctor::examine(&settings, self.transaction_age.into(), |finding| {
            if !self.json {
                tell(&finding);
            }
            found.push(finding);
        })
        .await;
        let wrong = found.iter().filter(|finding| finding.state == State::Wrong).count();
        if self.json {
            print::json(&json!({ "healthy": wrong == 0, "findings": found }))?;
        }
        anyhow::ensure!(
            wrong == 0,
            "{} found",
            if wrong == 1 { "1 trouble".into() } else { format!("{wrong} troubles") }
        );
        Ok(())
    }
}

fn tell(finding: &Finding) {
    let state = match finding.state {
        State::Fine => "fine ",
        State::Wrong => "WRONG",
        State::Note => "note ",
    };
    say!("{state} {:<18} {}", finding.check, finding.detail);
    if let Some(advice) = &finding.advice {
        say!("{:<24} → {advice}", "");
    }
}
