//! Gauges that are set at each scrape: what the fleet shares, with its age, and the sessions of this process.

use std::time::Instant;

use metrics::{SharedString, Unit, describe_gauge, gauge};
use parking_lot::Mutex;

use super::metrics::as_f64;

/// When the gauges of the fleet were last read.
static FLEET_READ: Mutex<Option<Instant>> = Mutex::new(None);

pub(super) fn describe() {
    describe_gauge!(
        "feebox_fleet_stats_age_seconds",
        Unit::Seconds,
        "How long ago the gauges of the fleet were read from the database"
    );
    describe_gauge!("feebox_workers_alive", Unit::Count, "Processes that deliver and were seen in the last minute");
    describe_gauge!("feebox_last_audit_timestamp_seconds", "When the fleet last audited, in seconds since 1970");
    describe_gauge!("feebox_destination_paused", Unit::Count, "1 while an operator pauses the destination");
    describe_gauge!("feebox_destination_held", Unit::Count, "1 while the destination is held by its Retry-After");
    describe_gauge!(
        "feebox_destination_limit_per_second",
        Unit::Count,
        "The most calls to the destination that the fleet begins a second; 0 without a limit"
    );
    describe_gauge!(
        "feebox_destination_limit_in_flight",
        Unit::Count,
        "The most calls to the destination that the fleet has in flight; 0 without a limit"
    );
    describe_gauge!("feebox_database_sessions_max", Unit::Count, "Sessions that this process may open");
    describe_gauge!("feebox_database_sessions_in_use", Unit::Count, "Sessions of this process that are in use");
}

/// The gauges of the fleet were read from the database.
pub fn fleet_stats_read() {
    *FLEET_READ.lock() = Some(Instant::now());
}

/// Sets how old the gauges of the fleet are: since they were last read or, if they never were, since the process started.
pub(super) fn fleet_stats_age() {
    let age = FLEET_READ.lock().map_or_else(super::process::uptime_seconds, |read| read.elapsed().as_secs_f64());
    gauge!("feebox_fleet_stats_age_seconds").set(age);
}

/// Sets how many processes that deliver are alive.
pub fn workers_alive(workers: u64) {
    gauge!("feebox_workers_alive").set(as_f64(workers));
}

/// Sets when the fleet last audited.
pub fn last_audit(seconds_since_1970: f64) {
    gauge!("feebox_last_audit_timestamp_seconds").set(seconds_since_1970);
}

/// Sets whether `destination` is paused by an operator, and whether it is held by its Retry-After.
pub fn destination_held(destination: impl Into<SharedString>, paused: bool, held: bool) {
    let destination = destination.into();
    gauge!("feebox_destination_paused", "destination" => destination.clone()).set(f64::from(u8::from(paused)));
    gauge!("feebox_destination_held", "destination" => destination).set(f64::from(u8::from(held)));
}

/// Sets the limits of the fleet for `destination`.
pub fn destination_limits(destination: impl Into<SharedString>, per_second: Option<u32>, in_flight: Option<u32>) {
    let destination = destination.into();
    let limit = |limit: Option<u32>| f64::from(limit.unwrap_or(0));
    gauge!("feebox_destination_limit_per_second", "destination" => destination.clone()).set(limit(per_second));
    gauge!("feebox_destination_limit_in_flight", "destination" => destination).set(limit(in_flight));
}

/// Sets how many database sessions are in use, of those that this process may open.
pub fn database_sessions(in_use: usize, most: usize) {
    gauge!("feebox_database_sessions_in_use").set(as_f64(in_use as u64));
    gauge!("feebox_database_sessions_max").set(as_f64(most as u64));
}
