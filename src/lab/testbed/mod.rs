//! What `bench`, `compare` and `torture` share: real processes of this binary, a database for each run, a network and a load.

mod database;
mod fleet;
mod load;
mod network;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub(crate) use database::{TestDatabase, connect, execute};
pub(crate) use fleet::{Fleet, Role, forget_settings};
#[cfg(feature = "kafka")]
pub(crate) use load::description;
pub(crate) use load::{Answer, Sample, quote, rush, submit};
pub(crate) use network::Network;

/// The directory `out`, created if it does not exist. Processes run in it, so that their paths must be absolute.
pub(crate) fn directory(out: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    Ok(out.canonicalize()?)
}
