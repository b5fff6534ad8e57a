//! The `feebox` command: the roles, nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A fifth of a submission service's processor time went into the C library's allocator
/// (`docs/adr/0046-an-allocator-of-its-own.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    feebox::cli::main()
}
