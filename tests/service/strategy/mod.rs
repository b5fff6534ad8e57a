//! The designs without an outbox.

mod designs;
mod processes;
