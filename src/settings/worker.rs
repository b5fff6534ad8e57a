//! `worker.*`: how events are claimed and delivered.

use std::net::SocketAddr;
use std::time::Duration;

use super::FeeServer;
use super::fields::Fields;

/// How events are claimed and delivered.
#[derive(Clone, Debug)]
pub struct Worker {
    /// When to look for due events: cron, six fields, UTC.
    pub schedule: String,
    /// Whether a commit also wakes a worker at once.
    pub wakeup: bool,
    /// Most events that one claim takes: 1 to 10000.
    pub batch_size: usize,
    /// Most deliveries under way at once: 1 to 10000.
    pub concurrency: usize,
    /// For how long a claimed event belongs to its worker. Longer than [`FeeServer::timeout`].
    pub lease: Duration,
    /// How long running deliveries may go on after the order to stop.
    pub shutdown_grace: Duration,
    /// Where `feebox worker` serves its health and metrics.
    pub bind: SocketAddr,
}

impl Worker {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            schedule: fields.schedule("worker.schedule"),
            wakeup: fields.flag("worker.wakeup"),
            batch_size: fields.count("worker.batch_size", 1..=10_000),
            concurrency: fields.count("worker.concurrency", 1..=10_000),
            lease: fields.duration("worker.lease", ["100ms", "1h"]),
            shutdown_grace: fields.duration("worker.shutdown_grace", ["0s", "1h"]),
            bind: fields.address("worker.bind"),
        }
    }
}

/// A lease that can run out during a single call lets a second worker make the same call.
pub(super) fn refuse_short_lease(worker: &Worker, fee_server: &FeeServer, fields: &mut Fields) {
    let keys = ["worker.lease", "fee_server.timeout"];
    if !fields.are_fit(&keys) || worker.lease > fee_server.timeout {
        return;
    }
    let lease = humantime::format_duration(worker.lease);
    let timeout = humantime::format_duration(fee_server.timeout);
    fields.refuse(
        "worker.lease",
        format!("{lease} is not longer than fee_server.timeout, {timeout} ({})", fields.origin("fee_server.timeout")),
        "lengthen the lease (three times the time-out is good) or shorten the time-out",
    );
}
