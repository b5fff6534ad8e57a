//! Logs, traces and metrics: what an operator sees of Feebox from outside.

mod log_writer;
pub mod metrics;
pub mod trace_context;

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

/// How often recorded durations are folded into their histograms.
const FOLD_INTERVAL: Duration = Duration::from_secs(5);

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Why a process does not log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No thread can be started for it.
    #[error("cannot start to log")]
    Thread(#[from] io::Error),
    /// This process logs already.
    #[error("cannot log twice")]
    Twice(#[from] TryInitError),
}

/// Starts logging to standard error, as standard output belongs to what a command prints. Panics are logged, too: their
/// usual message is written to standard error by who panics, who would wait there for a reader that has stopped reading.
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

/// Has the last log lines written, at the end of the process.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic = panic.payload_as_str(), place, thread = thread.name(), "panicked");
}

fn subscriber(log: &Log, on_terminal: bool, writer: LogWriter) -> Box<dyn Subscriber + Send + Sync> {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.filter)).with_writer(writer);
    // It would print its own errors to standard error, and panic if it cannot.
    let lines = lines.log_internal_errors(false);
    let as_text = match log.format {
        LogFormat::Auto => on_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if !as_text {
        Box::new(lines.json().flatten_event(true).with_current_span(false).finish())
    } else if on_terminal {
        // In colour, unless NO_COLOR is set.
        Box::new(lines.finish())
    } else {
        Box::new(lines.with_ansi(false).finish())
    }
}

/// Makes this process collect metrics and returns what renders them for `/metrics`.
///
/// A process has one set of metrics, so a further call returns the same.
///
/// # Panics
///
/// If something else has installed a metrics recorder before.
pub fn install_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(&metrics::BUCKETS_SECONDS)
                .and_then(PrometheusBuilder::install_recorder)
                .expect("nothing else records this process' metrics");
            metrics::register();
            fold_for_ever(handle.clone());
            handle
        })
        .clone()
}

/// What `/metrics` shows now.
#[must_use]
pub fn render(metrics: &PrometheusHandle) -> String {
    metrics::log_lines_lost(log_writer::lost());
    metrics.render()
}

/// The recorder keeps each single duration until it is folded, so without a scrape they would fill the memory. A
/// thread of its own, as the metrics outlive any one runtime.
fn fold_for_ever(handle: PrometheusHandle) {
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(FOLD_INTERVAL);
                handle.run_upkeep();
            }
        })
        .expect("a thread can be started");
}
