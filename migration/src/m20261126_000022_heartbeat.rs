//! What each process says of itself, so that operators see the fleet.

use sea_orm_migration::prelude::*;

use crate::columns::{add_column, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "process";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ColumnDef::new("role").string_len(16).to_owned(),
            ColumnDef::new("version").string_len(32).to_owned(),
            ColumnDef::new("host").string_len(128).to_owned(),
            time(manager, "last_tick_at"),
            ColumnDef::new("in_flight").integer().to_owned(),
            ColumnDef::new("in_flight_limit").integer().to_owned(),
            ColumnDef::new("settings").json_binary().to_owned(),
        ];
        for column in columns {
            add_column(manager, TABLE, column).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["settings", "in_flight_limit", "in_flight", "last_tick_at", "host", "version", "role"] {
            manager.alter_table(Table::alter().table(TABLE).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
