//! Limits of the fleet for each destination: calls a second, and calls in flight. And how submissions and deliveries went, by the
//! minute and by the hour.

use sea_orm_migration::prelude::*;

use crate::columns::{add_column, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const DESTINATION: &str = "destination";
const SERIES: &str = "series";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ColumnDef::new("limit_per_second").integer().to_owned(),
            ColumnDef::new("limit_in_flight").integer().to_owned(),
            time(manager, "next_call_at"),
        ];
        for column in columns {
            add_column(manager, DESTINATION, column).await?;
        }
        manager
            .create_table(
                table(manager, SERIES)
                    .col(ColumnDef::new("step_seconds").integer().not_null())
                    .col(time(manager, "at").not_null())
                    .col(ColumnDef::new("name").string_len(16).not_null())
                    .col(ColumnDef::new("number").big_integer().not_null())
                    .primary_key(Index::create().col("step_seconds").col("at").col("name"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(SERIES).to_owned()).await?;
        for column in ["next_call_at", "limit_in_flight", "limit_per_second"] {
            manager.alter_table(Table::alter().table(DESTINATION).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
