//! The `feebox` command: the roles, nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A call of the API or of the fee server allocates some hundred small pieces, in one thread, and frees them in another. The
/// system's allocator took a sixth of the processor time of a worker that drains a backlog.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    feebox::cli::main()
}
