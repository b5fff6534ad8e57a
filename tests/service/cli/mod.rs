//! The command line.

mod desk;
mod operator;
mod output;
mod quote;
mod start;
mod worker;
