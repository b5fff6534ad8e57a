//! What a database error means for whoever ran the statement.

use std::{error::Error, sync::Arc};

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, mysql::MySqlDatabaseError, sqlite::SqliteError},
};

/// What an error of the database means. The one place that reads error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The transaction was rolled back for the sake of another one: a deadlock, a serialization failure. Nothing was done,
    /// and the same transaction may succeed now.
    Conflict,
    /// Others hold what is needed for too long. The session is fine, and the same call may succeed later.
    Busy,
    /// No session can be had, or it was lost: refused, timed out, cut, shutting down, out of connections.
    Unavailable,
    /// The database takes no writes: a standby, or a former primary.
    ReadOnly,
    /// The database has no room left, or cannot write to its disk.
    Full,
    /// The statement is larger than the server takes.
    TooLarge,
    /// The server refuses our credentials.
    Denied,
    /// A fault of the data or of ours: the same statement fails again.
    Internal,
}

/// An error that may have come from the database.
pub trait DatabaseFailure {
    /// The database's own error, if it is one.
    fn database_error(&self) -> Option<&DbErr>;
}

impl DatabaseFailure for DbErr {
    fn database_error(&self) -> Option<&DbErr> {
        Some(self)
    }
}

/// A statement that the server would not read.
#[derive(Debug, thiserror::Error)]
#[error("a statement of {bytes} bytes exceeds the server's max_allowed_packet of {bytes_max} bytes")]
pub struct TooLarge {
    /// Its size, rounded up.
    pub bytes: usize,
    /// What the server takes.
    pub bytes_max: usize,
}

/// What `error` means.
#[must_use]
pub fn kind(error: &DbErr) -> Kind {
    match error {
        DbErr::ConnectionAcquire(_) => Kind::Unavailable,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => kind_of(error),
        _ => Kind::Internal,
    }
}

/// Whether the database asks for the transaction to be run again: it has been rolled back for the sake of another one.
#[must_use]
pub fn asks_again(error: &DbErr) -> bool {
    kind(error) == Kind::Conflict
}

/// The size and the limit, if `error` says that a statement is larger than the server takes.
#[must_use]
pub fn too_large(error: &DbErr) -> Option<&TooLarge> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return None;
    };
    let sqlx::Error::Encode(error) = error.as_ref() else { return None };
    error.downcast_ref()
}

pub(super) fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(error) => {
            if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                return of_mariadb(error.number());
            }
            let code = error.code().unwrap_or_default();
            let is_sqlite = error.try_downcast_ref::<SqliteError>().is_some();
            if is_sqlite { of_sqlite(code.parse().unwrap_or(0)) } else { of_postgres(&code) }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Unavailable,
        sqlx::Error::Encode(error) if error.is::<TooLarge>() => Kind::TooLarge,
        _ => Kind::Internal,
    }
}

/// Whether the session in which `error` came must not be used again.
pub(super) fn ends_session(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(error) = error
        && error.try_downcast_ref::<SqliteError>().is_some()
    {
        // NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB. SQLite rolls back by itself on most.
        let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(0_i32);
        return matches!(code & 0xff, 7 | 8 | 9 | 10 | 11 | 13 | 14 | 15 | 26);
    }
    matches!(kind_of(error), Kind::Unavailable | Kind::ReadOnly | Kind::Denied)
}

/// By SQLSTATE, <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
fn of_postgres(code: &str) -> Kind {
    match code {
        "40001" | "40P01" => Kind::Conflict,
        "25006" => Kind::ReadOnly,
        "53100" => Kind::Full,
        // Lock not available; cancelled by a time limit.
        "55P03" | "57014" => Kind::Busy,
        // Cannot connect now, shutdown, crash; too many connections; idle in a transaction; statement completion unknown.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "40003" => Kind::Unavailable,
        _ => match code.get(..2) {
            // Connection exceptions, insufficient resources, system errors.
            Some("08" | "53" | "58") => Kind::Unavailable,
            Some("28") => Kind::Denied,
            _ => Kind::Internal,
        },
    }
}

/// By number, <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
fn of_mariadb(number: u16) -> Kind {
    match number {
        // Record changed since the last read, lock wait time-out, deadlock.
        1020 | 1205 | 1213 => Kind::Conflict,
        // `read_only`, a read-only transaction, read-only mode.
        1290 | 1792 | 1836 => Kind::ReadOnly,
        // Disk full, error writing a file, table full.
        1021 | 1026 | 1114 => Kind::Full,
        // Interrupted, statement time limit.
        1317 | 1969 => Kind::Busy,
        1153 => Kind::TooLarge,
        1044 | 1045 | 1698 => Kind::Denied,
        // Too many connections (of all, of this user); Galera's "not ready"; shutdown; host blocked or not allowed; cut,
        // killed, idle for too long.
        1040 | 1203 | 1226 | 1047 | 1053 | 1129 | 1130 | 1152 | 1158..=1161 | 1184 | 1189 | 1190 | 1927 | 4031 => {
            Kind::Unavailable
        }
        _ => Kind::Internal,
    }
}

/// By extended result code, <https://sqlite.org/rescode.html>.
fn of_sqlite(code: i32) -> Kind {
    const BUSY_SNAPSHOT: i32 = 517;
    match code & 0xff {
        5 if code == BUSY_SNAPSHOT => Kind::Conflict,
        5 | 6 => Kind::Busy,
        7 | 9 | 14 | 15 => Kind::Unavailable,
        8 => Kind::ReadOnly,
        10 | 13 => Kind::Full,
        _ => Kind::Internal,
    }
}

pub(super) fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error)))
}

pub(super) fn cannot_connect(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

pub(super) fn timed_out(text: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

pub(super) fn encoding(error: impl Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Encode(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_asks_to_be_run_again_is_a_conflict() {
        let postgres = ["40001", "40P01"].map(of_postgres);
        let mariadb = [1020, 1205, 1213].map(of_mariadb);
        assert!(postgres.into_iter().chain(mariadb).chain([of_sqlite(517)]).all(|kind| kind == Kind::Conflict));
        assert_eq!(of_mariadb(1047), Kind::Unavailable, "a Galera node that is not ready");
    }

    #[test]
    fn a_fault_of_the_data_is_not_taken_for_an_outage() {
        // Not null, unique, NUL in a text, a date out of range; the same on MariaDB; a constraint on SQLite.
        assert!(["23502", "23505", "22021", "22008"].iter().all(|code| of_postgres(code) == Kind::Internal));
        assert!([1048, 1062, 1292, 1366, 1406].iter().all(|number| of_mariadb(*number) == Kind::Internal));
        assert_eq!(of_sqlite(2067), Kind::Internal);
    }
}
