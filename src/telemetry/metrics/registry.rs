//! All metrics, described and started at zero.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{
    UNLABELLED, Unlabelled, accesses_refused, circuit_open, compensations, deliveries, delivery_histogram,
    outbox_events, outbox_oldest_due_seconds, stale_reads, submissions_refused,
};
use crate::telemetry::{gauges, process};

const OUTCOMES: [&str; 7] = ["delivered", "retry", "refused", "unknown", "broken", "unauthorised", "not_sent"];
const COMPENSATIONS: [&str; 3] = ["cancelled", "not_pending", "failed"];
const SUBMISSION_REFUSALS: [&str; 3] = ["queue_full", "waited", "memory"];
const ACCESS_REFUSALS: [&str; 4] = ["no_token", "unknown_token", "foreign_page", "role"];
const NOT_BY_REPLICA: [&str; 5] = ["unavailable", "foreign", "unmeasured", "behind", "failed"];
const STATUSES: [&str; 5] = ["pending", "leased", "delivered", "dead", "cancelled"];

/// Describes every metric and starts those without labels and those of the fee server at zero. Rates are then right from
/// the first event on, and a missing metric means that Feebox is down.
pub(crate) fn register() {
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
    stale_reads("replica", "").increment(0);
    for why in NOT_BY_REPLICA {
        stale_reads("primary", why).increment(0);
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
    counter!("feebox_events_died_total", "destination" => destination).increment(0);
    // The look-up registers it; a recorded zero would count as a delivery.
    let _ = delivery_histogram(destination.into());
    outbox_oldest_due_seconds(destination, 0.0);
    circuit_open(destination, false);
}

fn describe() {
    process::describe();
    gauges::describe();
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
    describe_counter!(
        "feebox_stale_reads_total",
        Unit::Count,
        "Reads that may be stale, by server; and why not by the replica"
    );
    describe_gauge!(
        "feebox_replica_age_seconds",
        Unit::Seconds,
        "How old the replica's state is; NaN if that is unknown"
    );
    describe_counter!("feebox_task_panics_total", Unit::Count, "Panics of background tasks, which are restarted");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{
        metrics::{delivery, delivery_seconds, event_died},
        tally,
    };

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
        let page = crate::telemetry::install_metrics().render();
        for name in NAMES {
            assert!(page.contains(&format!("# TYPE {name} ")), "{name} not in\n{page}");
            assert!(page.contains(&format!("# HELP {name} ")), "{name} not in\n{page}");
        }
        let unknown = r#"feebox_deliveries_total{destination="fee-server",outcome="unknown"} 0"#;
        assert!(page.contains(unknown), "{page}");
    }

    #[test]
    fn the_series_counts_an_event_when_it_dies_and_not_when_its_destination_is_registered() {
        crate::telemetry::install_metrics();
        register_destination("test-died");
        // Nothing else here lets an event die.
        assert_eq!(tally::take().counts.get("died"), None);
        event_died("test-died");
        assert_eq!(tally::take().counts.get("died"), Some(&1));
    }

    #[test]
    fn recorded_values_are_rendered() {
        let handle = crate::telemetry::install_metrics();
        crate::telemetry::install_metrics();
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
