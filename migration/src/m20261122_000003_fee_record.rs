//! Which fee a quote got.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, "fee_record")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    // One fee a quote: the promise is the constraint.
                    .col(ColumnDef::new("quote_id").uuid().not_null().unique_key())
                    // Not a foreign key: delivered events are pruned, fee records stay.
                    .col(ColumnDef::new("event_id").uuid().not_null().unique_key())
                    .col(ColumnDef::new("fee_id").string_len(128).not_null())
                    .col(ColumnDef::new("currency").string_len(3).not_null())
                    .col(ColumnDef::new("amount_minor").big_integer().not_null())
                    .col(ColumnDef::new("rate_bps").integer().not_null())
                    .col(time(manager, "calculated_at").not_null())
                    .col(time(manager, "created_at").not_null())
                    .foreign_key(
                        ForeignKey::create().name("fee_record_quote").from("fee_record", "quote_id").to("quote", "id"),
                    )
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("fee_record").to_owned()).await
    }
}
