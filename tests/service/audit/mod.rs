//! Looking for broken promises.

mod checks;
mod remote;
mod run;
mod slices;
mod watch;
