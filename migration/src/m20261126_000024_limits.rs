//! Limits of the fleet for each destination: calls a second, and calls in flight.

use sea_orm_migration::prelude::*;

use crate::columns::time;

#[derive(DeriveMigrationName)]
pub struct Migration;

const DESTINATION: &str = "destination";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ColumnDef::new("limit_per_second").integer().to_owned(),
            ColumnDef::new("limit_in_flight").integer().to_owned(),
            time(manager, "next_call_at"),
        ];
        for column in columns {
            manager.alter_table(Table::alter().table(DESTINATION).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["next_call_at", "limit_in_flight", "limit_per_second"] {
            manager.alter_table(Table::alter().table(DESTINATION).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
