//! Logs, traces and metrics: what an operator sees of Feebox from outside.

pub mod metrics;
pub mod trace_context;

pub use trace_context::TraceContext;

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::settings::{Log, LogFormat};

/// How often recorded durations are folded into their histograms.
const FOLD_INTERVAL: Duration = Duration::from_secs(5);

/// Starts logging to standard error, as standard output belongs to what a command prints.
///
/// # Errors
///
/// If this process logs already.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    subscriber(log, stderr().is_terminal()).try_init()
}

fn subscriber(log: &Log, on_terminal: bool) -> Box<dyn Subscriber + Send + Sync> {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.filter)).with_writer(stderr);
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
