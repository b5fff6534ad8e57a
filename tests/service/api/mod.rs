//! The HTTP API and the dashboard.

mod access;
mod bad_call;
mod bad_input;
mod connections;
mod dashboard;
mod docs;
mod health;
mod idempotency;
mod operations;
mod quotes;
