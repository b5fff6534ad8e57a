//! The laboratory: it measures the product, breaks it, or plays the fee server for it.
//!
//! Only the command line uses it.

// `feebox bench`: its speed, compared with hand-written code.
#[cfg(feature = "lab")]
pub mod bench;
// `feebox compare`: all designs, side by side.
#[cfg(feature = "lab")]
pub mod compare;
// A fleet of a thousand workers on paper, for `feebox bench --question fleet`.
#[cfg(feature = "lab")]
pub mod fleet;
// A port that can be shut and opened again.
mod listener;
// `feebox fee-server`: a remote fee server with all its faults.
pub mod sample_fee_server;
// `feebox torture`: breaks a fleet and everything around it, and checks the promises.
#[cfg(feature = "lab")]
pub mod torture;
// Real processes, a database and a load, for `compare` and `torture`.
#[cfg(feature = "lab")]
mod testbed;
