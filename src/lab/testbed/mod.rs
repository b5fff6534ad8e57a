//! What a measurement and a torture stand on: real processes of this same binary, a database of their own, and a load.

mod fleet;
mod ground;
mod load;
mod network;

pub(crate) use fleet::{Fleet, Role, forget_settings};
pub(crate) use ground::Ground;
pub(crate) use load::{Answer, Shot, rush, submit};
pub(crate) use network::Network;
