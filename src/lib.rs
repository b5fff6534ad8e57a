//! Feebox: fees for submitted quotes by a transactional outbox.
//!
//! `http → submission → outbox ⇠ (the table) ⇢ worker → destination → fees`

/// What `feebox fee-server` runs: the remote fee server with all its faults.
pub mod sample_fee_server;
/// Typed and validated settings; the defaults are embedded from `config/default.toml`.
pub mod settings;
/// Logs, traces and metrics.
pub mod telemetry;
