//! Lists by a rare status find their rows in an index that holds nothing else.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{create_index, drop_index, partial_index};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Name, table, columns and condition. A quote or an event that takes its usual way never enters one of them.
const PARTIAL: [(&str, &str, &str, &str); 4] = [
    ("quote_rejected", "quote", "submitted_at, id", "status = 'rejected'"),
    ("quote_cancelled", "quote", "submitted_at, id", "status = 'cancelled'"),
    ("outbox_event_cancelled", "outbox_event", "destination, id", "status = 'cancelled'"),
    // All lines of the log but those of the single events of a bulk.
    ("operator_action_line", "operator_action", "id", "action <> 'event.revive'"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// `PostgreSQL` reads each table once for each index, and writes to it wait meanwhile.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MariaDB has indexes that are led by the status, `quote_pending` and `outbox_event_dead`: they hold all rows.
        if manager.get_database_backend() != DbBackend::MySql {
            for (name, table, columns, only) in PARTIAL {
                partial_index(manager, name, table, columns, only, "").await?;
            }
        }
        // The actions of one quote in their order.
        create_index(
            manager,
            Index::create()
                .name("operator_action_of_quote")
                .table("operator_action")
                .col("quote_id")
                .col("id")
                .to_owned(),
        )
        .await?;
        drop_index(manager, "operator_action_quote", "operator_action").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_index(
            manager,
            Index::create().name("operator_action_quote").table("operator_action").col("quote_id").to_owned(),
        )
        .await?;
        drop_index(manager, "operator_action_of_quote", "operator_action").await?;
        if manager.get_database_backend() != DbBackend::MySql {
            for (name, table, ..) in PARTIAL {
                drop_index(manager, name, table).await?;
            }
        }
        Ok(())
    }
}
