//! The processes of the fleet, and where those that deliver can be woken.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "process";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, TABLE)
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("name").string_len(128).not_null())
                    .col(ColumnDef::new("wake_address").string_len(64))
                    .col(ColumnDef::new("wake_token").uuid())
                    .col(time(manager, "started_at").not_null())
                    .col(time(manager, "seen_at").not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
