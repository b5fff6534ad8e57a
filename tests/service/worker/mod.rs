//! The worker that empties the outbox.

mod fleet;
mod fleet_limits;
mod frozen_worker;
mod holds;
mod limits;
mod parts;
mod process;
mod run;
mod small_server;
mod turns;
mod upkeep;
mod wakeup;
