//! The metrics as `/metrics` shows them.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::{exemplars, gauges, log_writer, metrics, process};

/// How often recorded durations are moved to their histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

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
            metrics::registry::register();
            run_upkeep(handle.clone());
            handle
        })
        .clone()
}

/// Renders the metrics for `/metrics`, as [`OPEN_METRICS`](super::OPEN_METRICS) with exemplars or in Prometheus' text format.
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
