//! An audit counts the quotes that had changed apart from those of its pass over all quotes: one may be among both.

use sea_orm_migration::prelude::*;

use crate::columns::add_column;

#[derive(DeriveMigrationName)]
pub struct Migration;

const RUN: &str = "audit_run";
const CHANGED: &str = "last_changed";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, RUN, ColumnDef::new(CHANGED).big_integer().to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(RUN).drop_column(CHANGED).to_owned()).await
    }
}
