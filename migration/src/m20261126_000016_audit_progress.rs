//! How far the audits of the fleet have come, and what they have found.

use sea_orm_migration::prelude::*;

use crate::columns::{create_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const PROGRESS: &str = "audit_progress";
const VIOLATION: &str = "audit_violation";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, PROGRESS)
                    .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
                    .col(ColumnDef::new("slices").big_integer().not_null())
                    .col(ColumnDef::new("quote_id").uuid())
                    .col(time(manager, "settled_at"))
                    .col(time(manager, "completed_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                table(manager, VIOLATION)
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("quote_id").uuid().not_null())
                    .col(ColumnDef::new("promise").integer().not_null())
                    .col(ColumnDef::new("sentence").text().not_null())
                    .col(time(manager, "found_at").not_null())
                    .to_owned(),
            )
            .await?;
        // A slice looks for what an earlier check of its quotes has found.
        create_index(
            manager,
            Index::create().name("audit_violation_quote").table(VIOLATION).col("quote_id").col("id").to_owned(),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(VIOLATION).to_owned()).await?;
        manager.drop_table(Table::drop().table(PROGRESS).to_owned()).await
    }
}
