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
const REINDEXED: [&str; 5] = ["outbox_event", "quote", "fee_record", "circuit_opening", "operator_action"];
/// Their text is the primary key.
const COPIED: [&str; 3] = ["destination", "schedule", "idempotency_key"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Reads and writes of large tables go on meanwhile, as rows stay where they are and indexes alone are built again. The keys
    /// of submissions are copied: submissions with a key wait for that.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in REINDEXED {
            convert(manager, table, EXACT, "ALGORITHM=NOCOPY, LOCK=NONE").await?;
        }
        for table in COPIED {
            convert(manager, table, EXACT, "ALGORITHM=COPY").await?;
        }
        Ok(())
    }

    /// Fails where two keys differ by trailing blanks alone, before anything is changed. Tables are copied, because an index that is built again is not
    /// checked for keys that have become equal (MDEV-26294).
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in COPIED.into_iter().rev().chain(REINDEXED) {
            convert(manager, table, PADDED, "ALGORITHM=COPY").await?;
        }
        Ok(())
    }
}

async fn convert(manager: &SchemaManager<'_>, table: &str, collation: &str, how: &str) -> Result<(), DbErr> {
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
    let sql = format!("ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}, {how}");
    connection.execute_unprepared(&sql).await.map(drop)
}
