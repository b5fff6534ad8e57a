//! Who has to take a quote before it is confirmed. Until now that was the fee server, always.

use sea_orm_migration::prelude::*;

use crate::columns::add_column;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "quote";
const COLUMN: &str = "destination";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut destination = ColumnDef::new(COLUMN);
        destination.string_len(32).not_null().default("fee-server");
        add_column(manager, TABLE, destination).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(TABLE).drop_column(COLUMN).to_owned()).await
    }
}
