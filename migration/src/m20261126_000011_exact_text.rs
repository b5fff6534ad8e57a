//! `MariaDB` compares text to the last blank. Until now its collation padded: `"ada"` was equal to `"ada "`, in lists of a
//! customer's quotes and in the scope of an idempotency key.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DbBackend, Statement},
};

use crate::columns::{EXACT, PADDED};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Those whose texts are compared with each other are side by side: until both are changed, such a comparison is refused.
/// The last three have text as their primary key.
const TABLES: [&str; 8] = [
    "outbox_event",
    "quote",
    "fee_record",
    "circuit_opening",
    "operator_action",
    "destination",
    "schedule",
    "idempotency_key",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Tables are copied, and writes to a table wait for that. Where indexes alone are built again while others write
    /// (`ALGORITHM=NOCOPY, LOCK=NONE`), `MariaDB` 10.11.19 corrupts them: rows are no longer found by an index, and later it is
    /// marked as corrupted and every statement that needs it fails.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            convert(manager, table, EXACT).await?;
        }
        Ok(())
    }

    /// Fails where two keys differ by trailing blanks alone, before anything is changed. An index that is built again without a copy
    /// would not be checked for keys that have become equal (MDEV-26294).
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES.into_iter().rev() {
            convert(manager, table, PADDED).await?;
        }
        Ok(())
    }
}

async fn convert(manager: &SchemaManager<'_>, table: &str, collation: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    if manager.get_database_backend() != DbBackend::MySql {
        return Ok(());
    }
    // What was converted before a crash is not converted again.
    let done = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}' \
         AND table_collation = '{collation}'"
    );
    let done = Statement::from_string(DbBackend::MySql, done);
    if connection.query_one_raw(done).await?.is_some() {
        return Ok(());
    }
    let sql = format!("ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}, ALGORITHM=COPY");
    connection.execute_unprepared(&sql).await.map(drop)
}
