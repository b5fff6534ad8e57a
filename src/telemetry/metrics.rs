//! The metrics of Feebox, one function each. Their names are part of the contract with operators.
//!
//! Nothing is recorded before `install_metrics` is called. Metrics without labels are looked up
//! once, because every submission uses them; the others cost a look-up in a sharded map.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

use super::{exemplars, tally};

#[cfg(feature = "server")]
pub(super) mod registry;
#[cfg(feature = "server")]
pub use registry::register_destination;

/// Upper bounds of the histograms' buckets: from milliseconds, for commits, to an hour, for fees that were late because the
/// fee server was down.
pub(super) const BUCKETS_SECONDS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0, 3600.0,
];

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
pub fn log_lines_lost(lines: u64) {
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
    tally::count("died", 1);
    counter!("feebox_events_died_total", "destination" => destination.into()).increment(1);
}

/// Counts a panic of `task`.
pub fn task_panic(task: &'static str) {
    counter!("feebox_task_panics_total", "task" => task).increment(1);
}

/// Counts a read that the replica answers.
pub fn read_by_replica() {
    stale_reads("replica", "").increment(1);
}

/// Counts a read that may be stale and goes to the primary although there is a replica; `why` is `unavailable`, `foreign`,
/// `unmeasured`, `behind` or `failed`.
pub fn read_by_primary(why: &'static str) {
    stale_reads("primary", why).increment(1);
}

/// Sets how old the replica's state is, if that is known.
pub fn replica_age(age: Option<Duration>) {
    gauge!("feebox_replica_age_seconds").set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
}

fn stale_reads(server: &'static str, why: &'static str) -> Counter {
    counter!("feebox_stale_reads_total", "server" => server, "why" => why)
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
