//! What failures have in common is kept with their events, so that they can be grouped.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{add_column, partial_index, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "outbox_event";
const INDEX: &str = "outbox_event_cause";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Failures from before have no cause of their own until they fail again; their errors stay searchable.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [ColumnDef::new("cause").string_len(192).to_owned(), time(manager, "failed_at")] {
            add_column(manager, TABLE, column).await?;
        }
        let earlier = "UPDATE outbox_event SET cause = 'failed before causes were kept', \
                       failed_at = COALESCE(settled_at, created_at) \
                       WHERE last_error IS NOT NULL AND status IN ('pending', 'leased', 'dead')";
        manager.get_connection().execute_unprepared(earlier).await?;
        if manager.get_database_backend() == DbBackend::MySql {
            // Without partial indexes all events would enter it.
            return Ok(());
        }
        // An event that does not fail never enters it, and one that is delivered leaves it.
        let failed = "cause IS NOT NULL AND status IN ('pending', 'leased', 'dead')";
        partial_index(manager, INDEX, TABLE, "destination, status, cause, id", failed, "").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::MySql {
            manager.drop_index(Index::drop().name(INDEX).table(TABLE).to_owned()).await?;
        }
        for column in ["failed_at", "cause"] {
            manager.alter_table(Table::alter().table(TABLE).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
