//! Whether a fee server has ever answered a look-up with a list, for the whole fleet.

use sea_orm_migration::prelude::*;

use crate::columns::add_column;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "destination";
const COLUMN: &str = "lists_fees_at";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut url = ColumnDef::new(COLUMN);
        url.text();
        add_column(manager, TABLE, url).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(TABLE).drop_column(COLUMN).to_owned()).await
    }
}
