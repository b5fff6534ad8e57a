//! Processes that are killed, frozen, starved or cut off.

mod clocks;
mod crash;
mod database_crash;
mod delivery_windows;
mod faults;
mod leaving;
mod outage;
mod rolling_restart;
#[cfg(feature = "otel")]
mod traces;
