//! Feebox as its users meet it: the real binary, real databases, a real network.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "in a test a panic is the message, and names tell what a test shows"
)]

#[allow(dead_code, unused_imports, reason = "the harness offers more than the tests here use so far")]
mod support;

mod api;
mod audit;
mod cli;
mod dashboard;
mod database;
mod deploy;
mod destination;
mod embed;
mod harness;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "lab")]
mod lab;
mod language;
mod operator;
mod outbox;
mod process;
mod quotes;
mod readme;
mod references;
mod strategy;
mod tidy;
mod worker;
