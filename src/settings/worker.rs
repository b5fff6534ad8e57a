//! `worker.*`: how events are claimed and delivered.

use std::net::SocketAddr;
use std::time::Duration;

use super::FeeServer;
use super::fields::Fields;
use crate::worker;

/// How events are claimed and delivered.
#[derive(Clone, Debug)]
pub struct Worker {
    /// When to poll for due events: cron, six fields, UTC.
    pub schedule: String,
    /// Whether a commit also wakes a worker at once.
    pub wakeup: bool,
    /// Where the processes that store events send wake-ups, by UDP. Port 0 is any free one.
    pub wakeup_bind: SocketAddr,
    /// Most events per claim: 1 to 10000.
    pub batch_size: usize,
    /// Most concurrent deliveries: 1 to 10000.
    pub concurrency: usize,
    /// How long a worker holds an event that it claimed. Longer than [`FeeServer::timeout`].
    pub lease: Duration,
    /// How long running deliveries may take after the signal to stop.
    pub shutdown_grace: Duration,
    /// Address of the health checks and metrics of `feebox worker`.
    pub bind: SocketAddr,
}

impl From<Worker> for worker::Settings {
    fn from(Worker { batch_size, concurrency, lease, .. }: Worker) -> Self {
        Self { batch_size, concurrency, lease }
    }
}

impl Worker {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            schedule: fields.schedule("worker.schedule"),
            wakeup: fields.flag("worker.wakeup"),
            wakeup_bind: fields.address("worker.wakeup_bind"),
            batch_size: fields.count("worker.batch_size", 1..=10_000),
            concurrency: fields.count("worker.concurrency", 1..=10_000),
            lease: fields.duration("worker.lease", ["100ms", "1h"]),
            shutdown_grace: fields.duration("worker.shutdown_grace", ["0s", "1h"]),
            bind: fields.address("worker.bind"),
        }
    }
}

/// Others send to the address that stands in the database.
pub(super) fn refuse_any_address(worker: &Worker, fields: &mut Fields) {
    if fields.are_valid(&["worker.wakeup_bind"]) && worker.wakeup_bind.ip().is_unspecified() {
        let text = format!("{} is no address that others can send to", worker.wakeup_bind.ip());
        fields.refuse("worker.wakeup_bind", text, "name the address of this host that the others reach");
    }
}

/// If a lease can expire during one call, a second worker may make the same call.
pub(super) fn refuse_short_lease(worker: &Worker, fee_server: &FeeServer, fields: &mut Fields) {
    let keys = ["worker.lease", "fee_server.timeout"];
    if !fields.are_valid(&keys) || worker.lease > fee_server.timeout {
        return;
    }
    let lease = humantime::format_duration(worker.lease);
    let timeout = humantime::format_duration(fee_server.timeout);
    fields.refuse(
        "worker.lease",
        format!("{lease} is not longer than fee_server.timeout, {timeout} ({})", fields.origin("fee_server.timeout")),
        "lengthen the lease (three times the timeout is a good value), or shorten the timeout",
    );
}
