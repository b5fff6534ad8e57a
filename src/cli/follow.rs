//! `--follow`: lists that go on with what comes.

use std::{collections::HashSet, hash::Hash, time::Duration};

use serde::Serialize;

use super::stop_signal;

/// How often it is looked for more.
const INTERVAL: Duration = Duration::from_secs(2);
/// The most that is looked at each time. More than that within the interval is not shown.
const LOOKED_AT: u64 = 200;

/// Prints what `newest` returns, newest first, and then what is new in it, one a line, until the process is stopped.
pub(super) async fn follow<T: Serialize, K: Eq + Hash, const N: usize>(
    newest: impl AsyncFn(u64) -> anyhow::Result<Vec<T>>,
    key: impl Fn(&T) -> K,
    json: bool,
    row: impl Fn(&T) -> [String; N],
) -> anyhow::Result<()> {
    let mut known = HashSet::new();
    loop {
        let found = newest(LOOKED_AT).await?;
        for entry in found.iter().rev().filter(|entry| !known.contains(&key(entry))) {
            if json {
                say!("{}", serde_json::to_string(entry)?);
            } else {
                say!("{}", row(entry).join("  "));
            }
        }
        known = found.iter().map(&key).collect();
        tokio::select! {
            stopped = stop_signal() => return Ok(stopped?),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
