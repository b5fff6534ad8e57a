//! What clients submit, and the keys under which they submitted it.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, partial_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, "quote")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("customer_id").string_len(64).not_null())
                    .col(ColumnDef::new("currency").string_len(3).not_null())
                    .col(ColumnDef::new("amount_minor").big_integer().not_null())
                    .col(ColumnDef::new("lines").json_binary().not_null())
                    .col(ColumnDef::new("status").string_len(16).not_null())
                    .col(ColumnDef::new("status_reason").text())
                    .col(time(manager, "submitted_at").not_null())
                    .col(time(manager, "updated_at").not_null())
                    .to_owned(),
            )
            .await?;
        // The list of one customer's quotes, newest first. The list of all is the primary key read backwards.
        create_index(
            manager,
            Index::create().name("quote_customer").table("quote").col("customer_id").col("id").to_owned(),
        )
        .await?;
        // The sweeper's look at what is pending for too long: as small as the number of pending quotes.
        partial_index(manager, "quote_pending", "quote", "submitted_at, id", "status = 'pending'", "status").await?;
        manager
            .create_table(
                table(manager, "idempotency_key")
                    .col(ColumnDef::new("scope").string_len(64).not_null())
                    .col(ColumnDef::new("key").string_len(255).not_null())
                    .col(ColumnDef::new("request_sha256").string_len(64).not_null())
                    .col(ColumnDef::new("quote_ids").json_binary().not_null())
                    .col(time(manager, "created_at").not_null())
                    .primary_key(Index::create().col("scope").col("key"))
                    .to_owned(),
            )
            .await?;
        // Retention reads by age.
        create_index(
            manager,
            Index::create().name("idempotency_key_age").table("idempotency_key").col("created_at").to_owned(),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("idempotency_key").to_owned()).await?;
        manager.drop_table(Table::drop().table("quote").to_owned()).await
    }
}
