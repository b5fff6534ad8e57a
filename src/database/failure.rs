//! Classifies database errors.

use std::{error::Error, sync::Arc};

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, mysql::MySqlDatabaseError, sqlite::SqliteError},
};

/// The meaning of a database error. No other module reads error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The transaction was rolled back in favour of another: a deadlock or a serialization failure. Nothing was done, and a
    /// retry may succeed at once.
    Conflict,
    /// A lock was held for too long. The session is fine, and a retry may succeed later.
    Busy,
    /// No session could be opened, or it was lost: refused, timed out, cut, shutting down, out of connections.
    Unavailable,
    /// The database accepts no writes: a standby, or a former primary.
    ReadOnly,
    /// The database is full, or cannot write to its disk.
    Full,
    /// The statement exceeds the server's limit.
    TooLarge,
    /// The server refuses the credentials.
    Denied,
    /// Invalid data or a bug: the same statement fails again.
    Internal,
}

/// An error that may wrap a database error.
pub trait DatabaseFailure {
    /// The database error, if it wraps one.
    fn database_error(&self) -> Option<&DbErr>;
}

impl DatabaseFailure for DbErr {
    fn database_error(&self) -> Option<&DbErr> {
        Some(self)
    }
}

/// A statement that exceeds the server's limit.
#[derive(Debug, thiserror::Error)]
#[error("a statement of {bytes} bytes exceeds the server's max_allowed_packet of {bytes_max} bytes")]
pub struct TooLarge {
    /// The statement's size in bytes, rounded up.
    pub bytes: usize,
    /// The server's limit in bytes.
    pub bytes_max: usize,
}

/// Classifies `error`.
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

/// Whether the server has answered a statement, or a commit, with an error that rolls back its transaction: nothing is stored.
#[must_use]
pub fn is_refused(error: &DbErr) -> bool {
    let DbErr::Exec(RuntimeErr::SqlxError(cause)) = error else { return false };
    matches!(cause.as_ref(), sqlx::Error::Database(_))
        && matches!(kind(error), Kind::Conflict | Kind::Busy | Kind::TooLarge | Kind::Internal)
}

/// The size and the limit, if `error` says that a statement exceeds the server's limit.
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

/// Whether the session must not be used after `error`.
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

/// Whether the database lacks a table or a column that this version needs.
#[must_use]
pub fn lacks_table(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) = error else {
        return false;
    };
    let sqlx::Error::Database(cause) = cause.as_ref() else { return false };
    if let Some(cause) = cause.try_downcast_ref::<MySqlDatabaseError>() {
        return matches!(cause.number(), 1054 | 1146);
    }
    if cause.try_downcast_ref::<SqliteError>().is_some() {
        let text = cause.message();
        return text.starts_with("no such table") || text.starts_with("no such column");
    }
    matches!(cause.code().as_deref(), Some("42P01" | "42703"))
}

/// Whether the user of the session may not do what a statement does to a table.
#[must_use]
pub fn lacks_right(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) = error else {
        return false;
    };
    let sqlx::Error::Database(cause) = cause.as_ref() else { return false };
    // MariaDB: refused for a table, or for a column of it.
    cause
        .try_downcast_ref::<MySqlDatabaseError>()
        .map_or_else(|| cause.code().as_deref() == Some("42501"), |cause| matches!(cause.number(), 1142 | 1143))
}

/// Whether the work exceeded a time limit of Feebox or of the server. A smaller batch may succeed.
#[must_use]
pub fn is_too_slow(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause)) | DbErr::Exec(RuntimeErr::SqlxError(cause)) => match cause.as_ref() {
            sqlx::Error::Io(limit) => limit.kind() == std::io::ErrorKind::TimedOut && limit.raw_os_error().is_none(),
            _ => kind(error) == Kind::Busy,
        },
        _ => false,
    }
}

/// What is wrong with a value, if `error` says that the database refuses it: the same statement fails again, and succeeds
/// without that value. Any other error may concern all rows.
#[must_use]
pub fn bad_data(error: &DbErr) -> Option<&'static str> {
    let error = match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => error.as_ref(),
        DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => return Some(WRONG_TYPE),
        _ => return None,
    };
    match error {
        sqlx::Error::Encode(error) if error.is::<TooLarge>() => Some("it exceeds the database's size limit"),
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Some(WRONG_TYPE),
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => bad_data_of_mariadb(error.number()),
            None if error.try_downcast_ref::<SqliteError>().is_some() => {
                bad_data_of_sqlite(error.code().and_then(|code| code.parse().ok()).unwrap_or(0))
            }
            None => bad_data_of_postgres(&error.code().unwrap_or_default()),
        },
        _ => None,
    }
}

const CHARACTERS: &str = "a text contains characters that the database refuses";
const CONSTRAINT: &str = "a value violates a constraint";
const LENGTH: &str = "a text is too long for its column";
const RANGE: &str = "a number is out of range for its column";
const TIME: &str = "a time is out of range for its column";
const VALUE: &str = "the database refuses a value";
const WRONG_TYPE: &str = "a value has the wrong type for its column";

/// Data exceptions and constraint violations.
fn bad_data_of_postgres(code: &str) -> Option<&'static str> {
    match code {
        "22021" | "22P02" | "22P05" => Some(CHARACTERS),
        "22003" => Some(RANGE),
        "22007" | "22008" => Some(TIME),
        "22001" => Some(LENGTH),
        _ => match code.get(..2) {
            Some("22") => Some(VALUE),
            Some("23") => Some(CONSTRAINT),
            _ => None,
        },
    }
}

fn bad_data_of_mariadb(number: u16) -> Option<&'static str> {
    match number {
        1300 | 1366 | 3140..=3158 | 4036..=4042 => Some(CHARACTERS),
        1264 | 1690 => Some(RANGE),
        1292 | 1411 => Some(TIME),
        1406 => Some(LENGTH),
        1153 | 1265 | 1367 | 1416 => Some(VALUE),
        1048 | 1062 | 1216 | 1217 | 1451 | 1452 | 4025 => Some(CONSTRAINT),
        _ => None,
    }
}

/// TOOBIG, CONSTRAINT, MISMATCH, RANGE.
fn bad_data_of_sqlite(code: i32) -> Option<&'static str> {
    match code & 0xff {
        18 => Some(LENGTH),
        19 => Some(CONSTRAINT),
        20 | 25 => Some(VALUE),
        _ => None,
    }
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
        // Record changed since the last read, lock wait time-out, deadlock. The transaction is no longer the one that began
        // (`session::GUARDED_COMMIT`).
        1020 | 1205 | 1213 | 1305 => Kind::Conflict,
        // `read_only`, a read-only transaction, read-only mode.
        1290 | 1792 | 1836 => Kind::ReadOnly,
        // Disk full, error writing a file, table full.
        1021 | 1026 | 1114 => Kind::Full,
        // Interrupted, statement time limit.
        1317 | 1969 => Kind::Busy,
        1153 => Kind::TooLarge,
        1044 | 1045 | 1698 => Kind::Denied,
        // Too many connections (of all, of this user); Galera's "not ready"; shutdown; host blocked or not allowed; cut,
        // killed, idle for too long. An error during the commit: a Galera node that loses its group cannot know whether the
        // others have committed the transaction.
        1040
        | 1203
        | 1226
        | 1047
        | 1053
        | 1129
        | 1130
        | 1152
        | 1158..=1161
        | 1180
        | 1184
        | 1189
        | 1190
        | 1927
        | 4031 => Kind::Unavailable,
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
    fn deadlocks_and_serialization_failures_are_conflicts() {
        let postgres = ["40001", "40P01"].map(of_postgres);
        let mariadb = [1020, 1205, 1213, 1305].map(of_mariadb);
        assert!(postgres.into_iter().chain(mariadb).chain([of_sqlite(517)]).all(|kind| kind == Kind::Conflict));
        assert_eq!(of_mariadb(1047), Kind::Unavailable, "a Galera node that is not ready");
    }

    #[test]
    fn a_commit_that_ended_in_an_error_may_be_done() {
        // "Error while appending streaming replication fragment(provider status: Not connected to Primary Component)".
        assert_eq!(of_mariadb(1180), Kind::Unavailable);
    }

    #[test]
    fn invalid_data_is_not_an_outage() {
        // Not null, unique, NUL in a text, a date out of range; the same on MariaDB; a constraint on SQLite.
        assert!(["23502", "23505", "22021", "22008"].iter().all(|code| of_postgres(code) == Kind::Internal));
        assert!([1048, 1062, 1292, 1366, 1406].iter().all(|number| of_mariadb(*number) == Kind::Internal));
        assert_eq!(of_sqlite(2067), Kind::Internal);
    }

    #[test]
    fn invalid_data_is_distinguished_from_errors_that_concern_all_rows() {
        let bad = ["23502", "22021", "22008", "22P05"].map(bad_data_of_postgres);
        let bad = bad.into_iter().chain([1048, 1292, 1366, 1406].map(bad_data_of_mariadb));
        assert!(bad.chain([bad_data_of_sqlite(2067)]).all(|bad| bad.is_some()));
        // A missing privilege, table or column.
        assert!(["42501", "42P01", "42703", "P0001"].iter().all(|code| bad_data_of_postgres(code).is_none()));
        assert!([1142, 1146, 1054].iter().all(|number| bad_data_of_mariadb(*number).is_none()));
        assert_eq!(bad_data_of_sqlite(1), None);
    }
}
