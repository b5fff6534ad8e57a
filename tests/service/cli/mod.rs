//! The command line.

mod desk;
mod doctor;
mod operator;
mod output;
mod quote;
mod start;
mod worker;
