//! `feebox completions`

use std::io::stdout;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Completions for a shell.
#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) {
        clap_complete::generate(self.shell, &mut Cli::command(), "feebox", &mut stdout());
    }
}
