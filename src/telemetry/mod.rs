//! Logs, traces and metrics.

mod exemplars;
pub mod gauges;
mod log_writer;
pub mod metrics;
mod process;
mod sampled;
pub mod spans;
pub mod tally;
pub mod trace_context;

pub use exemplars::OPEN_METRICS;
pub use sampled::{Sampled, SampledByKind};
pub use spans::Span;
pub use trace_context::TraceContext;

use std::io::{self, IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::settings::{Log, LogFormat};

use log_writer::LogWriter;

/// How often recorded durations are moved to their histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The target of the access log's lines.
pub const ACCESS: &str = "feebox::access";

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The writer's thread cannot be started.
    #[error("failed to start the log writer")]
    Thread(#[from] io::Error),
    /// Logging was started before.
    #[error("logging is already started")]
    AlreadyStarted(#[from] TryInitError),
}

/// Starts logging to standard error; standard output is for what a command prints. Panics are logged too: the default hook
/// writes to standard error itself, and would block where nobody reads it.
///
/// # Errors
///
/// See [`LogError`].
pub fn init(log: &Log) -> Result<(), LogError> {
    let writer = LogWriter::new(stderr())?;
    subscriber(log, stderr().is_terminal(), writer.clone()).try_init()?;
    panic::set_hook(Box::new(log_panic));
    let _ = WRITER.set(writer);
    Ok(())
}

/// Sends the last spans and writes the last log lines, at the end of the process.
pub fn flush() {
    spans::end();
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

/// A duration for the log, in milliseconds with microseconds.
#[must_use]
pub fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic = panic.payload_as_str(), place, thread = thread.name(), "panicked");
}

fn subscriber(log: &Log, on_terminal: bool, writer: LogWriter) -> Box<dyn Subscriber + Send + Sync> {
    let access = if log.access { "info" } else { "off" };
    let filter = EnvFilter::new(format!("{},{ACCESS}={access}", log.filter));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // It would print its own errors to standard error, and panic if that fails.
    let lines = lines.log_internal_errors(false);
    let as_text = match log.format {
        LogFormat::Auto => on_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if !as_text {
        Box::new(lines.json().flatten_event(true).with_current_span(false).finish())
    } else if on_terminal {
        // Coloured, unless NO_COLOR is set.
        Box::new(lines.finish())
    } else {
        Box::new(lines.with_ansi(false).finish())
    }
}

/// Starts collecting metrics, and returns the handle that renders them.
///
/// A process has one set of metrics, so further calls return the same handle.
///
/// # Panics
///
/// If another metrics recorder is installed.
pub fn install_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(&metrics::BUCKETS_SECONDS)
                .and_then(PrometheusBuilder::install_recorder)
                .expect("no other metrics recorder is installed");
            metrics::register();
            run_upkeep(handle.clone());
            handle
        })
        .clone()
}

/// Renders the metrics for `/metrics`, as [`OPEN_METRICS`] with exemplars or in Prometheus' text format.
#[must_use]
pub fn render(metrics: &PrometheusHandle, as_open_metrics: bool) -> String {
    metrics::log_lines_lost(log_writer::lost());
    gauges::fleet_stats_age();
    process::read();
    let page = metrics.render();
    if as_open_metrics { exemplars::open_metrics(&page) } else { page }
}

/// The recorder keeps every duration until its upkeep runs: without scrapes they would fill the memory. It runs on its own
/// thread, because the metrics outlive any runtime.
fn run_upkeep(handle: PrometheusHandle) {
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                handle.run_upkeep();
            }
        })
        .expect("a thread can be started");
}
