//! How the database is reached.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

/// How the database is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://…`, `postgres://…` or `mysql://…`.
    pub url: SecretString,
    /// The file that the URL was read from. It is read again when the server refuses the credentials.
    pub url_file: Option<PathBuf>,
    /// Most open connections of this process: 1 to 1000.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// A replica, for reads that may be stale.
    pub replica: Option<ReplicaOptions>,
}

/// How a replica is reached, and how old it may be.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// `postgres://…` or `mysql://…`.
    pub url: SecretString,
    /// The file that the URL was read from, as [`Options::url_file`].
    pub url_file: Option<PathBuf>,
    /// Most open connections of this process with it.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// The oldest state that is read.
    pub max_age: Duration,
}
