//! How many files and connections this process may hold open, and how they are divided.
//!
//! A process that runs out of descriptors can neither accept nor call nor reach its database. So the soft limit is raised to
//! the hard one, and the descriptors are divided before they are used: there are always some for a database connection, for a
//! health check and for a delivery.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::ExposeSecret;

use super::Roles;
use crate::{
    http::SPARE_MAX,
    settings::{Settings, Strategy},
};

/// The runtime, standard streams, listeners, the brokers of Kafka, files that are open for a moment, and the connections beyond
/// the limit that are there for health checks.
const RESERVED: usize = 24 + SPARE_MAX;
/// An `SQLite` connection holds the database, its write-ahead log and sometimes a temporary file.
const FILES_PER_SQLITE_CONNECTION: usize = 3;
/// Connections of HTTP clients that one process holds at most, however many descriptors there are.
const HTTP_MAX: usize = 10_000;
/// Enough for a worker's health and metrics.
const HTTP_OF_WORKER: usize = 16;
/// No share is smaller, however few descriptors there are.
const SHARE_MIN: usize = 4;

/// How many connections are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    database: u32,
    deliveries: usize,
    /// Of HTTP clients.
    pub http: usize,
}

/// Raises the soft limit of file descriptors to the hard limit. What is in force is logged at start.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    // A limit that cannot be raised stays, and is logged at start.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Fits `settings` into the limit of descriptors, and logs it if that is less than they ask for.
pub(super) fn fit(settings: &mut Settings, roles: Roles) -> Shares {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let is_sqlite = settings.database.url.expose_secret().starts_with("sqlite:");
    // Without an outbox it is the submitting process that calls the destination.
    let delivers = roles.worker || settings.submission.strategy != Strategy::Outbox;
    let wanted = Shares {
        database: settings.database.max_connections,
        deliveries: if delivers { settings.worker.concurrency } else { 0 },
        http: if roles.api { HTTP_MAX } else { HTTP_OF_WORKER },
    };
    let shares = divide(limit, wanted, if is_sqlite { FILES_PER_SQLITE_CONNECTION } else { 1 });
    let Shares { database, deliveries, http } = shares;
    if database < wanted.database || deliveries < wanted.deliveries {
        tracing::warn!(
            limit,
            database_connections = database,
            "database.max_connections" = wanted.database,
            deliveries,
            "worker.concurrency" = wanted.deliveries,
            http_connections = http,
            "too few file descriptors: fewer connections are opened than the settings allow; raise the limit (ulimit -n)"
        );
    } else {
        tracing::info!(limit, http_connections = http, "file descriptors");
    }
    settings.database.max_connections = database;
    settings.worker.concurrency = deliveries.max(1);
    shares
}

/// The database comes first, as nothing works without it; then deliveries; HTTP clients get the rest.
fn divide(limit: usize, wanted: Shares, files_per_connection: usize) -> Shares {
    let usable = limit.saturating_sub(RESERVED);
    let third = usable / 3;
    let database = (third / files_per_connection).clamp(1, wanted.database as usize);
    let left = usable.saturating_sub(database * files_per_connection);
    let deliveries = (left / 2).max(SHARE_MIN).min(wanted.deliveries);
    let http = left.saturating_sub(deliveries).max(SHARE_MIN).min(wanted.http);
    Shares { database: u32::try_from(database).unwrap_or(wanted.database), deliveries, http }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Shares = Shares { database: 16, deliveries: 256, http: HTTP_MAX };

    #[test]
    fn with_enough_descriptors_each_share_is_as_wanted() {
        assert_eq!(divide(1_048_576, WANTED, 3), WANTED);
        assert_eq!(divide(usize::MAX, WANTED, 1), WANTED);
    }

    #[test]
    fn with_few_descriptors_each_share_has_some_and_the_sum_fits() {
        for limit in [64, 100, 256, 512] {
            for files in [1, 3] {
                for deliveries in [0, 256] {
                    let Shares { database, deliveries, http } = divide(limit, Shares { deliveries, ..WANTED }, files);
                    let sum = database as usize * files + deliveries + http + RESERVED;
                    assert!(database >= 1 && http >= SHARE_MIN && sum <= limit, "{limit} {files}: {sum}");
                }
            }
        }
    }
}
