//! The `process_*` metrics that Prometheus' own client libraries have, read from `/proc`.

use std::{
    fs,
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// The kernel's ticks in a second, as it reports CPU time to programs: 100 on every architecture that Feebox runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// Where in `/proc/self/stat`, after the name of the program, the CPU time begins.
const UTIME: usize = 11;

static STARTED: OnceLock<(Instant, f64)> = OnceLock::new();

/// Describes them, and remembers when the process started.
pub(super) fn describe() {
    STARTED.get_or_init(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        (Instant::now(), since_1970)
    });
    describe_gauge!("feebox_build_info", "1, with the version of this process as a label");
    describe_counter!("process_cpu_seconds_total", "CPU time of this process, in whole seconds");
    describe_gauge!("process_start_time_seconds", "When this process started, in seconds since 1970");
    describe_gauge!("process_resident_memory_bytes", "Memory of this process");
    describe_gauge!("process_open_fds", "Open file descriptors of this process");
    describe_gauge!("process_max_fds", "File descriptors that this process may open");
    gauge!("feebox_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// How long this process has been running, in seconds.
pub(super) fn uptime_seconds() -> f64 {
    STARTED.get().map_or(0.0, |(started, _)| started.elapsed().as_secs_f64())
}

/// Reads them. What cannot be read keeps its last value.
pub(super) fn read() {
    if let Some((_, started)) = STARTED.get() {
        gauge!("process_start_time_seconds").set(*started);
    }
    if let Some(seconds) = cpu_seconds() {
        counter!("process_cpu_seconds_total").absolute(seconds);
    }
    if let Some(kilobytes) = status("VmRSS:") {
        gauge!("process_resident_memory_bytes").set(kilobytes * 1024.0);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)));
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        gauge!("process_max_fds").set(f64::from(u32::try_from(most).unwrap_or(u32::MAX)));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of times is not negative")]
fn cpu_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let ticks: f64 = after_name.split(' ').skip(UTIME).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((ticks / TICKS_A_SECOND) as u64)
}

fn status(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_memory_and_descriptors() {
        let handle = crate::telemetry::install_metrics();
        let page = crate::telemetry::render(&handle, false);
        let value = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
        };
        assert!(value("process_resident_memory_bytes") > 1e6, "{page}");
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"), "{page}");
        assert!(value("process_start_time_seconds") > 1.7e9, "{page}");
        assert!(page.contains("process_cpu_seconds_total "), "{page}");
        assert!(page.contains(&format!(r#"feebox_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION"))), "{page}");
    }
}
