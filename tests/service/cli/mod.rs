//! The command line.

mod operator;
mod output;
mod worker;
