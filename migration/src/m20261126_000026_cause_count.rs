//! How often attempts failed for each cause, by ten minutes: whether a trouble grows or goes away.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "cause_count";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, TABLE)
                    .col(time(manager, "at").not_null())
                    .col(ColumnDef::new("destination").string_len(64).not_null())
                    .col(ColumnDef::new("cause").string_len(192).not_null())
                    .col(ColumnDef::new("number").big_integer().not_null())
                    .primary_key(Index::create().col("at").col("destination").col("cause"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
