//! When circuits were open: a quote's timeline tells of it also when they are closed again.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "circuit_opening";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, TABLE)
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("destination").string_len(64).not_null())
                    .col(time(manager, "opened_at").not_null())
                    .col(time(manager, "closed_at"))
                    .col(ColumnDef::new("reason").text())
                    .to_owned(),
            )
            .await?;
        // Those of a destination that touch the life of a quote.
        create_index(
            manager,
            Index::create().name("circuit_opening_time").table(TABLE).col("destination").col("opened_at").to_owned(),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
