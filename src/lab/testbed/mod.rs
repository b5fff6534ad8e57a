//! What `bench`, `compare` and `torture` share: real processes of this binary, a database for each run, a network and a load.

mod database;
mod fleet;
mod load;
mod network;

pub(crate) use database::{TestDatabase, connect, execute};
pub(crate) use fleet::{Fleet, Role, forget_settings};
pub(crate) use load::{Answer, Sample, rush, submit};
pub(crate) use network::Network;
