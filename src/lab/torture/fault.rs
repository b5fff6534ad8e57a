//! The kinds of faults.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

/// A fault that can be injected. The doc lines appear in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Kills one or all processes (SIGKILL) and restarts them
    Kill,
    /// Freezes workers (SIGSTOP) until their leases have ended, then lets them continue
    Freeze,
    /// Makes one worker's clock jump: ten minutes or a day back, an hour or a year ahead, then right again (needs
    /// faketime)
    Clock,
    /// Clients hang up at any moment, with and without keys; those with a key repeat the call
    HangUp,
    /// Makes the fee server unavailable: connections are refused, or the ingress answers 502
    Outage,
    /// Makes calls to the fee server fail at random: 503, resets before and after the fee was made, no answer
    Failures,
    /// The ingress answers instead of the fee server: 404, 200, 302 and 503 in HTML, 404 in JSON
    Pages,
    /// Cuts answers: the last byte missing, no length, or 502 instead of the answer
    CutAnswers,
    /// Answers 429 with Retry-After for a while
    Throttle,
    /// Gives one customer in twenty-five answers that violate the contract, or always 403 or 500; their quotes may die
    Poison,
    /// Delays messages to the database by 5 to 50 ms
    DatabaseSlow,
    /// Resets connections to the database, or lets the server end all sessions
    DatabaseCut,
    /// Cuts connections before or after the server has read a COMMIT
    CommitCut,
    /// Swallows all traffic to the database for a while, then cuts the connections
    DatabaseSilent,
    /// Makes the database refuse writes, like a primary that has become a replica
    ReadOnly,
    /// Causes deadlocks and serialization errors, also at COMMIT; other sessions lock the same rows in the opposite
    /// order
    Conflict,
    /// Crashes the database and restarts it (needs --database-restart)
    DatabaseCrash,
    /// Crashes a broker of Kafka and restarts it (needs --kafka-restart)
    KafkaCrash,
    /// Lets no file of one process grow for a while, like a full disk (`SQLite`; needs prlimit)
    DiskFull,
}

/// How often each fault was injected.
pub type Counts = BTreeMap<Fault, u32>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Fault {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether a fleet on this database can have it.
    pub(super) fn concerns(self, engine: Engine) -> bool {
        match self {
            Self::DatabaseSlow
            | Self::DatabaseCut
            | Self::CommitCut
            | Self::DatabaseSilent
            | Self::ReadOnly
            | Self::DatabaseCrash => engine != Engine::Sqlite,
            Self::DiskFull => engine == Engine::Sqlite,
            _ => true,
        }
    }

    /// Whether it has a beginning and an end; other faults affect calls and submissions all the time.
    pub(super) fn is_incident(self) -> bool {
        !matches!(self, Self::HangUp | Self::Failures | Self::CutAnswers | Self::Poison)
    }
}

impl Engine {
    /// The database that a `database.url` names.
    pub(super) fn of(url: Option<&str>) -> Self {
        match url {
            Some(url) if url.starts_with("postgres") => Self::Postgres,
            Some(url) if url.starts_with("mysql") || url.starts_with("mariadb") => Self::MariaDb,
            _ => Self::Sqlite,
        }
    }
}
