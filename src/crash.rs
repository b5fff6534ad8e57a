//! Named points at which a test kills the process: `before-commit` and `after-commit` of a submission, `after-claim`,
//! `after-delivery`, `before-settle-commit`.
//!
//! The environment variable `FEEBOX_CRASH_AT` names one. It is read once; unset, as in production, a point costs one load
//! from memory.

use std::sync::LazyLock;

static CRASH_AT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("FEEBOX_CRASH_AT").ok());

/// Ends the process as `kill -9` does, if a test asked for it here: no destructor runs, nothing is flushed or rolled
/// back by us.
pub fn point(name: &str) {
    if CRASH_AT.as_deref() == Some(name) {
        let me = std::process::id().to_string();
        // The standard library cannot send signals; `kill` is on every system that these tests run on.
        let _ = std::process::Command::new("kill").args(["-KILL", &me]).status();
    }
}
