//! The operator on the command line, who is recorded with every change.

use std::{env, os::unix::fs::MetadataExt};

use clap::Args;

use crate::{operator, quotes::new_quote::parse_text};

/// Most characters of a name: what the log of actions holds.
const NAME_LENGTH_MAX: usize = 100;

/// The user at the terminal.
#[derive(Args, Debug)]
pub struct Operator {
    /// The reason, for the log of operator actions
    #[arg(long, value_name = "TEXT", value_parser = operator::parse_reason)]
    reason: Option<String>,
    /// Who acts, if not the user of the operating system
    #[arg(long = "as", value_name = "NAME", value_parser = actor)]
    actor: Option<String>,
}

fn actor(name: &str) -> Result<String, String> {
    parse_text(name, NAME_LENGTH_MAX)
}

impl Operator {
    /// Runs `act` as the operating system's user.
    pub(super) async fn acting<T>(&self, act: impl AsyncFnOnce(operator::Operator<'_>) -> T) -> T {
        let name = self.actor.clone().unwrap_or_else(user);
        act(operator::Operator { name: &name, reason: self.reason.as_deref() }).await
    }
}

/// The user's name; under `sudo`, that of the user who called it.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok());
    let name = named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        std::fs::metadata("/proc/self").map_or_else(|_| "unknown".into(), |process| format!("uid {}", process.uid()))
    });
    name.chars().take(NAME_LENGTH_MAX).collect()
}
