//! Named points at which a test kills the process, or makes a task panic: `before-commit` and `after-commit` of a
//! submission, `after-record` and `before-wake` of an embedded outbox, `after-claim`, `after-unreadable-claim`,
//! `after-delivery`, `before-settle-commit`, `before-rescue-commit`, `after-rescue-commit`, `after-prune-mark`,
//! `after-prune-batch`, `after-bring-back`, `after-collect-commit`, `before-bulk-commit`, `after-bulk-commit`, `worker-run`,
//! `upkeep-run`.
//!
//! The environment variable `FEEBOX_CRASH_AT` names one, `FEEBOX_PANIC_AT` one and how many times (`worker-run:2`). They are
//! read once; unset, as in production, a point costs two loads from memory.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

static CRASH_AT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("FEEBOX_CRASH_AT").ok());
static PANIC_AT: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
    let set = std::env::var("FEEBOX_PANIC_AT").ok()?;
    let (name, times) = set.split_once(':')?;
    Some((name.to_owned(), AtomicU32::new(times.parse().ok()?)))
});

/// Ends the process as `kill -9` does, or panics, if a test asked for it here. No destructor runs; nothing is flushed or
/// rolled back.
///
/// # Panics
/// If a test asked for it here.
pub fn point(name: &str) {
    if let Some((_, times)) = PANIC_AT.as_ref().filter(|(at, _)| at == name) {
        let left = times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1));
        assert!(left.is_err(), "a test asked for a panic at {name}");
    }
    if CRASH_AT.as_deref() == Some(name) {
        let me = std::process::id().to_string();
        // The standard library cannot send signals; every system that runs these tests has `kill`.
        let _ = std::process::Command::new("kill").args(["-KILL", &me]).status();
    }
}
