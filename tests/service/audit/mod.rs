//! Looking for broken promises.

mod checks;
mod remote;
mod slices;
mod watch;
