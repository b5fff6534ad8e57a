//! What the fleet shares about each destination.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, "destination")
                    .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
                    .col(time(manager, "paused_at"))
                    .col(ColumnDef::new("paused_by").string_len(128))
                    .col(ColumnDef::new("pause_reason").text())
                    .col(time(manager, "not_before"))
                    .col(ColumnDef::new("circuit").string_len(16).not_null())
                    .col(ColumnDef::new("consecutive_failures").integer().not_null())
                    .col(time(manager, "circuit_opened_at"))
                    .col(ColumnDef::new("circuit_reason").text())
                    .col(time(manager, "probe_at"))
                    .col(time(manager, "updated_at").not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("destination").to_owned()).await
    }
}
