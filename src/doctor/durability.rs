//! Whether what is committed outlives a power cut. Feebox sets what a session may set; the rest is the server's.

use sea_orm::DbBackend;

use super::{Finding, Named, rows};
use crate::database::Database;

/// A setting, and the values with which a commit may be lost.
const POSTGRES: [(&str, &[&str]); 2] = [("fsync", &["off"]), ("full_page_writes", &["off"])];
const MARIADB: [(&str, &[&str]); 3] = [
    ("innodb_flush_log_at_trx_commit", &["0", "2"]),
    ("innodb_doublewrite", &["OFF"]),
    ("innodb_flush_method", &["nosync", "O_DIRECT_NO_FSYNC"]),
];

pub(super) async fn examine(db: &Database) -> Vec<Finding> {
    let check = "durability";
    let (sql, settings): (_, &[(&str, &[&str])]) = match db.connection().get_database_backend() {
        DbBackend::Postgres => ("SELECT name, setting AS value FROM pg_settings", &POSTGRES),
        DbBackend::MySql => (
            "SELECT LOWER(variable_name) AS name, variable_value AS value FROM information_schema.global_variables",
            &MARIADB,
        ),
        // Feebox sets WAL and `synchronous = FULL` itself.
        _ => return vec![Finding::fine(check, "each commit is flushed to the disk")],
    };
    let in_force: Vec<Named> = match rows(db, sql).await {
        Ok(rows) => rows,
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    let value = |name: &str| in_force.iter().find(|row| row.name == name).and_then(|row| row.value.as_deref());
    let unsafe_now = settings.iter().filter_map(|(name, losing)| {
        let value = value(name).filter(|value| losing.contains(value))?;
        let detail = format!("{name} = {value}: what is committed may be lost in a power cut");
        Some(Finding::wrong(check, detail, format!("set {name} to its default on the database server")))
    });
    let found: Vec<_> = unsafe_now.collect();
    if found.is_empty() { vec![Finding::fine(check, "each commit is flushed to the disk")] } else { found }
}
