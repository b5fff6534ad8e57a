//! `feebox completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Options of `feebox completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "feebox", &mut script);
        say!("{}", String::from_utf8_lossy(&script));
    }
}
