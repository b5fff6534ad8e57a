//! Searches for an error read what has failed, and not the backlog around it.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::partial_index;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "outbox_event";
const INDEX: &str = "outbox_event_failing";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// An event that does not fail never enters it, and one that is delivered leaves it. Dead events have an index of their own.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::MySql {
            // Without partial indexes all events would enter it.
            return Ok(());
        }
        let failing = "last_error IS NOT NULL AND status IN ('pending', 'leased')";
        partial_index(manager, INDEX, TABLE, "destination, id", failing, "").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::MySql {
            return Ok(());
        }
        manager.drop_index(Index::drop().name(INDEX).table(TABLE).to_owned()).await
    }
}
