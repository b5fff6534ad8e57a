//! The audit, here and at the fee server.

mod checks;
mod remote;
