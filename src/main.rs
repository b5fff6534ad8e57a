//! The `feebox` command: the roles, nothing else.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A fifth of a submission service's processor time went into the C library's allocator (`docs/adr/0048-an-allocator-of-its-own.md`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    feebox::cli::main()
}
