//! What a destination handed back for an event.

use sea_orm_migration::prelude::*;

use crate::columns::add_column;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "outbox_event";
const COLUMN: &str = "receipt";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut receipt = ColumnDef::new(COLUMN);
        receipt.json_binary();
        add_column(manager, TABLE, receipt).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(TABLE).drop_column(COLUMN).to_owned()).await
    }
}
