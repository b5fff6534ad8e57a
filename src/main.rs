//! The `feebox` command: the roles, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    feebox::cli::main()
}
