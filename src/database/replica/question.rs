//! What a primary and its replica are asked.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::position::Position;
use crate::database::Connection;

/// The same on both, unless they are servers of two databases. Read before the position, which is a moment later then.
const POSTGRES_IDENTITY: &str =
    "(SELECT system_identifier FROM pg_control_system())::text || '/' || current_database()";
/// Quotes are never deleted. `MariaDB` has no identity of its own that a replica shares.
const MARIADB_IDENTITY: &str = "COALESCE((SELECT HEX(id) FROM quote ORDER BY id LIMIT 1), '')";

/// What a primary says of itself.
#[derive(Debug)]
pub(super) struct Primary {
    pub identity: String,
    /// By its clock.
    pub at: DateTime<Utc>,
    /// None if it keeps no record.
    pub position: Option<Position>,
}

/// What a replica says of itself.
#[derive(Debug)]
pub(super) struct Standing {
    pub identity: String,
    /// None if it follows nobody.
    pub position: Option<Position>,
}

pub(super) async fn of_primary(db: &Connection) -> Result<Primary, DbErr> {
    let question = match db.get_database_backend() {
        DbBackend::Postgres => format!(
            "SELECT {POSTGRES_IDENTITY} AS identity, clock_timestamp() AS at, \
             CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_current_wal_lsn()::text END AS position"
        ),
        _ => format!(
            "SELECT {MARIADB_IDENTITY} AS identity, UTC_TIMESTAMP(6) AS at, \
             CONVERT(@@global.gtid_binlog_pos USING utf8mb4) AS position"
        ),
    };
    let row = one(db, question).await?;
    Ok(Primary { identity: row.try_get("", "identity")?, at: row.try_get("", "at")?, position: position(db, &row)? })
}

pub(super) async fn of_replica(db: &Connection) -> Result<Standing, DbErr> {
    let question = match db.get_database_backend() {
        DbBackend::Postgres => format!(
            "SELECT {POSTGRES_IDENTITY} AS identity, \
             CASE WHEN pg_is_in_recovery() THEN COALESCE(pg_last_wal_replay_lsn()::text, '') ELSE '' END AS position"
        ),
        _ => {
            format!("SELECT {MARIADB_IDENTITY} AS identity, CONVERT(@@global.gtid_slave_pos USING utf8mb4) AS position")
        }
    };
    let row = one(db, question).await?;
    Ok(Standing { identity: row.try_get("", "identity")?, position: position(db, &row)? })
}

fn position(db: &Connection, row: &sea_orm::QueryResult) -> Result<Option<Position>, DbErr> {
    let text: String = row.try_get("", "position")?;
    Ok(match db.get_database_backend() {
        DbBackend::Postgres => Position::of_log(&text),
        _ => Position::of_transactions(&text),
    })
}

async fn one(db: &Connection, question: String) -> Result<sea_orm::QueryResult, DbErr> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), question)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the database said nothing of itself".into()))
}
