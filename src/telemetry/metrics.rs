//! The metrics of Feebox, one function each. Their names are part of the contract with operators.
//!
//! Nothing is recorded before [`install_metrics`](super::install_metrics) is called. Metrics without labels are looked up
//! once, because every submission uses them; the others cost a look-up in a sharded map.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{exemplars, tally};

/// Upper bounds of the histograms' buckets: from milliseconds, for commits, to an hour, for fees that were late because the
/// fee server was down.
pub(super) const BUCKETS_SECONDS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0, 3600.0,
];

const OUTCOMES: [&str; 7] = ["delivered", "retry", "refused", "unknown", "broken", "unauthorised", "not_sent"];
const COMPENSATIONS: [&str; 3] = ["cancelled", "not_pending", "failed"];
const SUBMISSION_REFUSALS: [&str; 3] = ["queue_full", "waited", "memory"];
const ACCESS_REFUSALS: [&str; 4] = ["no_token", "unknown_token", "foreign_page", "role"];
const STATUSES: [&str; 5] = ["pending", "leased", "delivered", "dead", "cancelled"];

static UNLABELLED: OnceLock<Unlabelled> = OnceLock::new();

struct Unlabelled {
    quotes_submitted: Counter,
    submission_seconds: Histogram,
    fee_lag_seconds: Histogram,
    lease_lost: Counter,
    stale_quotes: Gauge,
    database_statements: Counter,
    promise_violations: Gauge,
    log_lines_lost: Counter,
    accept_errors: Counter,
}

/// Describes every metric and starts those without labels and those of the fee server at zero. Rates are then right from
/// the first event on, and a missing metric means that Feebox is down.
pub(super) fn register() {
    describe();
    UNLABELLED.get_or_init(|| Unlabelled {
        quotes_submitted: counter!("feebox_quotes_submitted_total"),
        submission_seconds: histogram!("feebox_submission_seconds"),
        fee_lag_seconds: histogram!("feebox_fee_lag_seconds"),
        lease_lost: counter!("feebox_lease_lost_total"),
        stale_quotes: gauge!("feebox_stale_quotes"),
        database_statements: counter!("feebox_database_statements_total"),
        promise_violations: gauge!("feebox_promise_violations"),
        log_lines_lost: counter!("feebox_log_lines_lost_total"),
        accept_errors: counter!("feebox_accept_errors_total"),
    });
    register_destination("fee-server");
    for why in SUBMISSION_REFUSALS {
        submissions_refused(why).increment(0);
    }
    for why in ACCESS_REFUSALS {
        accesses_refused(why).increment(0);
    }
    for result in COMPENSATIONS {
        compensations(result).increment(0);
    }
}

/// Starts the metrics of `destination` at zero. The fee server's are always started.
pub fn register_destination(destination: &'static str) {
    for outcome in OUTCOMES {
        deliveries(destination.into(), outcome.into()).increment(0);
    }
    for status in STATUSES {
        outbox_events(destination, status, 0);
    }
    tally::count("died", 1);
    counter!("feebox_events_died_total", "destination" => destination).increment(0);
    // The look-up registers it; a recorded zero would count as a delivery.
    let _ = delivery_histogram(destination.into());
    outbox_oldest_due_seconds(destination, 0.0);
    circuit_open(destination, false);
}

fn describe() {
    super::process::describe();
    super::gauges::describe();
    describe_counter!("feebox_quotes_submitted_total", Unit::Count, "Quotes stored");
    describe_histogram!("feebox_submission_seconds", Unit::Seconds, "Time from a submission's arrival to its commit");
    describe_counter!("feebox_deliveries_total", Unit::Count, "Delivery attempts, by outcome");
    describe_histogram!("feebox_delivery_seconds", Unit::Seconds, "Duration of delivery attempts");
    describe_gauge!(
        "feebox_outbox_events",
        Unit::Count,
        "Events in the outbox, by status; 10000 means that many or more"
    );
    describe_gauge!("feebox_outbox_oldest_due_seconds", Unit::Seconds, "How long the oldest due event has been due");
    describe_histogram!("feebox_fee_lag_seconds", Unit::Seconds, "Time from a quote's submission to its fee record");
    describe_gauge!("feebox_circuit_open", Unit::Count, "1 while the destination's circuit breaker is open");
    describe_gauge!("feebox_worker_limit", Unit::Count, "Limit of concurrent deliveries of this process");
    describe_gauge!("feebox_in_flight", Unit::Count, "Concurrent deliveries of this process");
    describe_counter!("feebox_lease_lost_total", Unit::Count, "Results discarded because their lease had expired");
    describe_counter!("feebox_compensations_total", Unit::Count, "Cancellations after a refused call, by result");
    describe_gauge!("feebox_stale_quotes", Unit::Count, "Quotes pending for longer than sweeper.stale_after");
    describe_counter!("feebox_database_statements_total", Unit::Count, "SQL statements sent, without BEGIN and COMMIT");
    describe_gauge!("feebox_promise_violations", Unit::Count, "Broken promises found by the last audit");
    describe_counter!("feebox_log_lines_lost_total", Unit::Count, "Log lines not written to standard error");
    describe_counter!("feebox_accept_errors_total", Unit::Count, "Failures to accept a connection");
    describe_counter!(
        "feebox_submissions_refused_total",
        Unit::Count,
        "Submissions refused for want of room, by reason"
    );
    describe_counter!("feebox_access_refused_total", Unit::Count, "Requests refused for want of a right, by reason");
    describe_counter!("feebox_connections_closed_total", Unit::Count, "Connections closed by the server, by reason");
    describe_counter!("feebox_http_requests_total", Unit::Count, "HTTP requests, by route and status");
    describe_counter!("feebox_events_died_total", Unit::Count, "Events that went dead, by destination");
    describe_counter!("feebox_task_panics_total", Unit::Count, "Panics of background tasks, which are restarted");
}

fn record(to: impl FnOnce(&Unlabelled)) {
    if let Some(unlabelled) = UNLABELLED.get() {
        to(unlabelled);
    }
}

/// Counts stored quotes; call it after the commit.
pub fn quotes_submitted(quotes: u64) {
    tally::count("submitted", quotes);
    record(|unlabelled| unlabelled.quotes_submitted.increment(quotes));
}

/// Records the time of one submission from its arrival to its commit.
pub fn submission_seconds(took: Duration, trace_context: &str) {
    exemplars::observed("feebox_submission_seconds", None, took.as_secs_f64(), Some(trace_context));
    record(|unlabelled| unlabelled.submission_seconds.record(took));
}

/// Counts one attempt; `outcome` is an [`Outcome::name`](crate::outbox::Outcome::name).
pub fn delivery(destination: impl Into<SharedString>, outcome: impl Into<SharedString>) {
    let outcome = outcome.into();
    tally::count_attempt(&outcome);
    deliveries(destination.into(), outcome).increment(1);
}

/// Counts an attempt that failed, by its cause.
pub fn failed_for(destination: &str, cause: String) {
    tally::count_cause(destination, cause);
}

/// Records the duration of one attempt, whatever its outcome, unless it was handed back or left no result.
pub fn delivery_seconds(destination: impl Into<SharedString>, took: Duration, trace_context: Option<&str>) {
    let destination = destination.into();
    exemplars::observed("feebox_delivery_seconds", Some(&destination), took.as_secs_f64(), trace_context);
    delivery_histogram(destination).record(took);
}

/// Sets the number of events with `status` for `destination`.
pub fn outbox_events(destination: impl Into<SharedString>, status: impl Into<SharedString>, events: u64) {
    let events = as_f64(events);
    gauge!("feebox_outbox_events", "destination" => destination.into(), "status" => status.into()).set(events);
}

/// Sets how long the oldest due event has been due; 0 if none is due.
pub fn outbox_oldest_due_seconds(destination: impl Into<SharedString>, age_seconds: f64) {
    gauge!("feebox_outbox_oldest_due_seconds", "destination" => destination.into()).set(age_seconds);
}

/// Records the time from the submission of a quote to its fee record.
pub fn fee_lag_seconds(lag_seconds: f64, trace_context: Option<&str>) {
    exemplars::observed("feebox_fee_lag_seconds", None, lag_seconds, trace_context);
    tally::count_fee_lag(lag_seconds);
    record(|unlabelled| unlabelled.fee_lag_seconds.record(lag_seconds));
}

/// Sets whether the circuit of `destination` is open.
pub fn circuit_open(destination: impl Into<SharedString>, is_open: bool) {
    let open = f64::from(u8::from(is_open));
    gauge!("feebox_circuit_open", "destination" => destination.into()).set(open);
}

/// Sets the limit of this process' concurrent deliveries to `destination`.
pub fn limit(destination: impl Into<SharedString>, deliveries: usize) {
    gauge!("feebox_worker_limit", "destination" => destination.into()).set(as_f64(deliveries as u64));
}

/// Sets the number of this process' concurrent deliveries to `destination`.
pub fn in_flight(destination: impl Into<SharedString>, deliveries: usize) {
    gauge!("feebox_in_flight", "destination" => destination.into()).set(as_f64(deliveries as u64));
}

/// Counts results that were discarded because the lease had expired.
pub fn lease_lost(answers: u64) {
    record(|unlabelled| unlabelled.lease_lost.increment(answers));
}

/// Counts one compensation; `result` is `cancelled`, `not_pending` or, for each failed attempt, `failed`.
pub fn compensation(result: &'static str) {
    compensations(result).increment(1);
}

/// Sets the number of stale quotes.
pub fn stale_quotes(quotes: u64) {
    record(|unlabelled| unlabelled.stale_quotes.set(as_f64(quotes)));
}

/// Counts one statement sent to the database.
pub fn database_statement() {
    record(|unlabelled| unlabelled.database_statements.increment(1));
}

/// Sets the number of broken promises that the last audit found.
pub fn promise_violations(violations: u64) {
    record(|unlabelled| unlabelled.promise_violations.set(as_f64(violations)));
}

/// Sets the number of log lines that this process lost.
pub(super) fn log_lines_lost(lines: u64) {
    record(|unlabelled| unlabelled.log_lines_lost.absolute(lines));
}

/// Counts a failure to accept a connection.
pub fn accept_error() {
    record(|unlabelled| unlabelled.accept_errors.increment(1));
}

/// Counts a submission that was refused because too many came; `why` is `queue_full`, `waited` or `memory`.
pub fn submission_refused(why: &'static str) {
    submissions_refused(why).increment(1);
}

/// Counts a request that was refused because of who sent it; `why` is `no_token`, `unknown_token`, `foreign_page` or `role`.
pub fn access_refused(why: &'static str) {
    accesses_refused(why).increment(1);
}

/// Counts a connection that the server closed; `why` is `idle`, `head`, `write` or `room`.
pub fn connection_closed(why: &'static str) {
    counter!("feebox_connections_closed_total", "why" => why).increment(1);
}

/// Counts an answer to an HTTP request; `route` is the pattern of its path.
pub fn http_request(route: &str, status: u16) {
    counter!("feebox_http_requests_total", "route" => route.to_owned(), "status" => status.to_string()).increment(1);
}

/// Counts an event that went dead.
pub fn event_died(destination: impl Into<SharedString>) {
    counter!("feebox_events_died_total", "destination" => destination.into()).increment(1);
}

/// Counts a panic of `task`.
pub fn task_panic(task: &'static str) {
    counter!("feebox_task_panics_total", "task" => task).increment(1);
}

fn deliveries(destination: SharedString, outcome: SharedString) -> Counter {
    counter!("feebox_deliveries_total", "destination" => destination, "outcome" => outcome)
}

fn submissions_refused(why: &'static str) -> Counter {
    counter!("feebox_submissions_refused_total", "why" => why)
}

fn accesses_refused(why: &'static str) -> Counter {
    counter!("feebox_access_refused_total", "why" => why)
}

fn compensations(result: &'static str) -> Counter {
    counter!("feebox_compensations_total", "result" => result)
}

fn delivery_histogram(destination: SharedString) -> Histogram {
    histogram!("feebox_delivery_seconds", "destination" => destination)
}

#[expect(clippy::cast_precision_loss, reason = "no table holds 2^53 rows")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 17] = [
        "feebox_quotes_submitted_total",
        "feebox_submission_seconds",
        "feebox_deliveries_total",
        "feebox_delivery_seconds",
        "feebox_outbox_events",
        "feebox_outbox_oldest_due_seconds",
        "feebox_fee_lag_seconds",
        "feebox_circuit_open",
        "feebox_lease_lost_total",
        "feebox_compensations_total",
        "feebox_stale_quotes",
        "feebox_database_statements_total",
        "feebox_promise_violations",
        "feebox_log_lines_lost_total",
        "feebox_accept_errors_total",
        "feebox_submissions_refused_total",
        "feebox_access_refused_total",
    ];

    #[test]
    fn every_metric_is_shown_before_its_first_event() {
        let page = super::super::install_metrics().render();
        for name in NAMES {
            assert!(page.contains(&format!("# TYPE {name} ")), "{name} not in\n{page}");
            assert!(page.contains(&format!("# HELP {name} ")), "{name} not in\n{page}");
        }
        let unknown = r#"feebox_deliveries_total{destination="fee-server",outcome="unknown"} 0"#;
        assert!(page.contains(unknown), "{page}");
    }

    #[test]
    fn recorded_values_are_rendered() {
        let handle = super::super::install_metrics();
        super::super::install_metrics();
        // Only this test uses this destination: all tests of the process share the metrics.
        delivery("test", "delivered");
        delivery("test".to_owned(), "delivered");
        delivery_seconds("test", Duration::from_millis(20), None);
        outbox_events("test", "dead", 3);
        outbox_oldest_due_seconds("test", 1.5);
        circuit_open("test", true);
        let page = handle.render();
        for line in [
            r#"feebox_deliveries_total{destination="test",outcome="delivered"} 2"#,
            r#"feebox_delivery_seconds_bucket{destination="test",le="0.01"} 0"#,
            r#"feebox_delivery_seconds_bucket{destination="test",le="0.025"} 1"#,
            r#"feebox_outbox_events{destination="test",status="dead"} 3"#,
            r#"feebox_outbox_oldest_due_seconds{destination="test"} 1.5"#,
            r#"feebox_circuit_open{destination="test"} 1"#,
        ] {
            assert!(page.contains(line), "{line} not in\n{page}");
        }
    }
}
