//! Refuses a database that has tables of these names already.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The tables, and a column by which each is known. `MariaDB` passes over a table that exists, which may be half of a migration
/// that was interrupted: so a table of others is told by its columns.
const TABLES: [(&str, &str); 4] = [
    ("outbox_event", "lease_token"),
    ("destination", "consecutive_failures"),
    ("circuit_opening", "opened_at"),
    ("prune_mark", "settled_before"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in TABLES {
            if manager.has_table(table).await? && !manager.has_column(table, column).await? {
                return Err(DbErr::Migration(format!(
                    "the database has a table {table} that is not the outbox's: rename it, or give the outbox a schema of its own"
                )));
            }
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
