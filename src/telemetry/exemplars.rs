//! For each bucket of a histogram, the trace of the last observation in it, for scrapers that read `OpenMetrics`.
//!
//! Source: `OpenMetrics` 1.0, sections "Exemplars" and "Text format".

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::{TraceContext, metrics::BUCKETS_SECONDS};

/// The media type of `OpenMetrics`, as scrapers ask for it.
pub const OPEN_METRICS: &str = "application/openmetrics-text";

/// Nothing is kept until somebody reads it.
static ARE_READ: AtomicBool = AtomicBool::new(false);
/// By histogram and its labels, as they are rendered.
static KEPT: Mutex<BTreeMap<String, Buckets>> = Mutex::new(BTreeMap::new());

/// The last one is that of what is above all bounds.
type Buckets = [Option<Exemplar>; BUCKETS_SECONDS.len() + 1];

#[derive(Clone, Debug)]
struct Exemplar {
    trace_id: String,
    seconds: f64,
    /// Since 1970.
    at: Duration,
}

/// Notes that `took` was observed in `trace_context`, if that is recorded. `destination` is the histogram's label, if it has one.
pub(super) fn observed(histogram: &str, destination: Option<&str>, seconds: f64, trace_context: Option<&str>) {
    if !ARE_READ.load(Ordering::Relaxed) {
        return;
    }
    let Some(trace) = trace_context.and_then(TraceContext::parse).filter(TraceContext::is_sampled) else { return };
    let labels = destination.map(|destination| format!(r#"destination="{destination}""#)).unwrap_or_default();
    let bucket = BUCKETS_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS_SECONDS.len());
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let exemplar = Exemplar { trace_id: trace.trace_id().to_owned(), seconds, at };
    let mut kept = KEPT.lock();
    let buckets = kept.entry(format!("{histogram}{{{labels}}}")).or_insert([const { None }; BUCKETS_SECONDS.len() + 1]);
    buckets[bucket] = Some(exemplar);
}

/// The page of Prometheus' text format as `OpenMetrics`, with exemplars. From now on they are kept.
pub(super) fn open_metrics(page: &str) -> String {
    ARE_READ.store(true, Ordering::Relaxed);
    let kept = KEPT.lock();
    let mut text = String::with_capacity(page.len() + page.len() / 8);
    for line in page.lines().filter(|line| !line.is_empty()) {
        text.push_str(&described(line).unwrap_or_else(|| line.to_owned()));
        if let Some(Exemplar { trace_id, seconds, at }) = exemplar(&kept, line) {
            let _ = write!(text, " # {{trace_id=\"{trace_id}\"}} {seconds} {}.{:03}", at.as_secs(), at.subsec_millis());
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    text
}

/// A family of counters is described by its name without `_total`.
fn described(line: &str) -> Option<String> {
    let (kind, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, text) = rest.split_once(' ')?;
    Some(format!("# {kind} {} {text}", name.strip_suffix("_total")?))
}

fn exemplar<'a>(kept: &'a BTreeMap<String, Buckets>, line: &str) -> Option<&'a Exemplar> {
    let (histogram, rest) = line.split_once("_bucket{")?;
    let (labels, bound) = rest.split_once("} ")?.0.rsplit_once("le=\"")?;
    let buckets = kept.get(&format!("{histogram}{{{}}}", labels.trim_end_matches(',')))?;
    let bound: f64 = bound.trim_end_matches('"').parse().ok()?;
    let bucket = BUCKETS_SECONDS.iter().position(|known| bound <= *known).unwrap_or(BUCKETS_SECONDS.len());
    buckets[bucket].as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP test_seconds Time
# TYPE test_seconds histogram
test_seconds_bucket{destination=\"there\",le=\"0.01\"} 0
test_seconds_bucket{destination=\"there\",le=\"0.025\"} 1
test_seconds_bucket{destination=\"there\",le=\"+Inf\"} 2

# HELP test_calls_total Calls
# TYPE test_calls_total counter
test_calls_total 3
";

    #[test]
    fn a_bucket_shows_the_trace_of_its_last_observation() {
        let trace = |id: u128, flags| format!("00-{id:032x}-00f067aa0ba902b7-0{flags}");
        // Asking once has them kept.
        open_metrics("");
        for (id, seconds, flags) in [(1, 0.02, 1), (2, 0.021, 1), (3, 0.022, 0), (4, 9999.0, 1)] {
            observed("test_seconds", Some("there"), seconds, Some(&trace(id, flags)));
        }
        observed("test_seconds", Some("there"), 0.023, Some("no trace"));
        let page = open_metrics(PAGE);
        let lines: Vec<_> = page.lines().collect();
        let expected = "test_seconds_bucket{destination=\"there\",le=\"0.025\"} 1 # {trace_id=\"00000000000000000000000000000002\"} 0.021 ";
        assert!(lines[3].starts_with(expected), "{page}");
        assert!(lines[4].contains("# {trace_id=\"00000000000000000000000000000004\"} 9999 "), "{page}");
        assert_eq!(lines[2], "test_seconds_bucket{destination=\"there\",le=\"0.01\"} 0");
        assert_eq!(lines[5..], ["# HELP test_calls Calls", "# TYPE test_calls counter", "test_calls_total 3", "# EOF"]);
    }
}
