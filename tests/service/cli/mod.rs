//! The command line.

mod desk;
pub mod doctor;
mod doctor_planted;
mod operator;
mod output;
mod quote;
mod start;
mod worker;
