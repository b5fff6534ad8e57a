//! The kinds of faults, each by its name.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use serde::Serialize;

/// What can go wrong. The doc lines are what `--help` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Processes are killed (SIGKILL) and started again, one or all
    Kill,
    /// Workers are frozen (SIGSTOP) until their leases have ended, and go on
    Freeze,
    /// One worker's clock jumps: ten minutes back, an hour ahead, a year ahead, and right again (needs faketime)
    Clock,
    /// Clients hang up at any instant, with and without keys, and those with a key ask again
    HangUp,
    /// The fee server, or the way to it, is unavailable: refused, or 502 by the ingress
    Outage,
    /// Calls fail at random at the fee server: 503, resets before and after the fee was made, no answer
    Failures,
    /// The ingress answers pages of its own: 404, 200, 302 and 503 in HTML, 404 in JSON
    Pages,
    /// Answers are cut: the last byte missing, without a length, or 502 in place of the answer
    CutAnswers,
    /// 429 with Retry-After for a while
    Throttle,
    /// One customer in twenty-five gets answers that break the contract, or always 403 or 500; such quotes may die
    Poison,
    /// The way to the database gets long: 5 to 50 ms a message
    DatabaseSlow,
    /// Connections to the database are reset, by something between or by the server itself
    DatabaseCut,
    /// Connections are cut before or after the server has read a COMMIT
    CommitCut,
    /// The way to the database swallows everything for a while, then is cut
    DatabaseSilent,
    /// The database refuses to write, as a primary that has become a replica does
    ReadOnly,
    /// Deadlocks and serialization errors, also at COMMIT; rivals that lock the same rows the other way round
    Conflict,
    /// The database crashes and starts again (needs --database-restart)
    DatabaseCrash,
    /// No file of one process may grow for a while, as if the disk were full (`SQLite`; needs prlimit)
    DiskFull,
}

/// How often each was done.
pub type Counts = BTreeMap<Fault, u32>;

/// Which database it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Fault {
    /// All there are.
    #[must_use]
    pub fn all() -> BTreeSet<Self> {
        Self::value_variants().iter().copied().collect()
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it can befall a fleet on this database.
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

    /// Whether it has a beginning and an end, or else befalls calls and submissions all the time.
    pub(super) fn is_incident(self) -> bool {
        !matches!(self, Self::HangUp | Self::Failures | Self::CutAnswers | Self::Poison)
    }
}

impl Engine {
    /// Of a URL such as `database.url` takes.
    pub(super) fn of(url: Option<&str>) -> Self {
        match url {
            Some(url) if url.starts_with("postgres") => Self::Postgres,
            Some(url) if url.starts_with("mysql") || url.starts_with("mariadb") => Self::MariaDb,
            _ => Self::Sqlite,
        }
    }
}
