//! When each piece of upkeep last ran in the fleet.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, "schedule")
                    .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
                    .col(time(manager, "last_tick_at").not_null())
                    .col(ColumnDef::new("taken_by").string_len(128).not_null())
                    .col(ColumnDef::new("last_count").big_integer())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("schedule").to_owned()).await
    }
}
