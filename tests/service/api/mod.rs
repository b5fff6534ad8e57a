//! The HTTP API.

mod access;
mod bad_call;
mod bad_input;
mod bodies;
mod clients;
mod connections;
mod docs;
mod early_refusals;
mod health;
mod idempotency;
mod limits;
mod live;
mod operations;
mod overload;
mod owners;
mod quotes;
mod spelling;
