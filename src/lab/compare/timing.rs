//! Times that follow from the fee server's latency, the same for every design.

use std::time::Duration;

/// Timeouts, waits and leases of the processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    timeout: Duration,
    lease: Duration,
    retry_interval: Duration,
    cool_down: Duration,
    /// Age from which the sweeper cancels: longer than all attempts of a call.
    pub(super) stale_after: Duration,
}

/// More connections than calls are open at once at 20 quotes a second and 2 s each, so that no design suffers from a
/// small pool.
const CONNECTIONS: u32 = 64;

/// The shortest lease that is accepted with `kafka.brokers`.
const KAFKA_LEASE_MIN: Duration = Duration::from_secs(10);
/// The time that a record has to be acknowledged: longer than the outage, and than the election of a leader.
const KAFKA_DELIVERY_TIMEOUT: Duration = Duration::from_secs(12);

impl Timing {
    pub(super) fn of(latency: Duration) -> Self {
        let timeout = latency * 2 + Duration::from_secs(1);
        let retry_interval = (latency / 2).max(Duration::from_millis(50));
        // Three attempts and the waits between them, which is what designs without an outbox make.
        let stale_after = timeout * 3 + retry_interval * 5;
        let cool_down = latency + Duration::from_secs(1);
        Self { timeout, lease: timeout * 2, retry_interval, cool_down, stale_after }
    }

    /// With a lease that gives Kafka's client enough time, and a sweeper that waits for longer than that.
    pub(super) fn for_kafka(self) -> Self {
        let stale_after = self.stale_after.max(KAFKA_DELIVERY_TIMEOUT + Duration::from_secs(5));
        Self { lease: self.lease.max(KAFKA_LEASE_MIN), stale_after, ..self }
    }

    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let time = |time: Duration| humantime::format_duration(time).to_string();
        vec![
            ("database.max_connections", CONNECTIONS.to_string()),
            ("fee_server.timeout", time(self.timeout)),
            ("worker.lease", time(self.lease)),
            ("retry.initial_interval", time(self.retry_interval)),
            ("circuit.cool_down", time(self.cool_down)),
            ("kafka.delivery_timeout", time(KAFKA_DELIVERY_TIMEOUT)),
        ]
    }

    /// After this long without a change, no quote without an event changes any more.
    pub(super) fn quiet(&self) -> Duration {
        self.stale_after + Duration::from_secs(3)
    }

    /// The longest that settling may take.
    pub(super) fn patience(&self) -> Duration {
        self.quiet() * 4 + Duration::from_secs(30)
    }

    /// The longest that a call to the destination is in flight.
    pub(super) fn in_flight(&self) -> Duration {
        self.timeout
    }
}
