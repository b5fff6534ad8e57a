//! The laboratory: it measures the product, breaks it, or plays the fee server for it.
//!
//! Only the command line uses it.

// `feebox bench`: how fast it is, beside what is written by hand.
pub mod bench;
// `feebox compare`: all designs, side by side.
pub mod compare;
// `feebox fee-server`: a remote fee server with all its faults.
pub mod sample_fee_server;
// `feebox torture`: breaks a fleet and everything around it, and checks the promises.
pub mod torture;
// Real processes, a database and a load, for `compare` and `torture`.
mod testbed;
