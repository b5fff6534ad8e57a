//! Logs, traces and metrics: what the rooms record. The service also shows it.

mod exemplars;
#[cfg(feature = "server")]
mod export;
#[cfg(feature = "server")]
pub mod gauges;
#[cfg(feature = "server")]
mod log;
#[cfg(feature = "server")]
mod log_writer;
pub mod metrics;
#[cfg(feature = "server")]
mod process;
mod sampled;
pub mod spans;
pub mod tally;
pub mod trace_context;

pub use exemplars::OPEN_METRICS;
#[cfg(feature = "server")]
pub use export::{install_metrics, render};
#[cfg(feature = "server")]
pub use log::{ACCESS, LogError, flush, init};
pub use sampled::{Sampled, SampledByKind};
pub use spans::Span;
pub use trace_context::TraceContext;

use std::time::Duration;

/// A duration for the log, in milliseconds with microseconds.
#[must_use]
pub fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}
