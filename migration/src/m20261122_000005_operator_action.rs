//! What operators did.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, "operator_action")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("actor").string_len(128).not_null())
                    .col(ColumnDef::new("action").string_len(64).not_null())
                    .col(ColumnDef::new("target").string_len(128).not_null())
                    .col(ColumnDef::new("quote_id").uuid())
                    .col(ColumnDef::new("reason").text())
                    .col(ColumnDef::new("details").json_binary().not_null())
                    .col(time(manager, "created_at").not_null())
                    .to_owned(),
            )
            .await?;
        // A quote's timeline shows what operators did to it.
        create_index(
            manager,
            Index::create().name("operator_action_quote").table("operator_action").col("quote_id").to_owned(),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("operator_action").to_owned()).await
    }
}
