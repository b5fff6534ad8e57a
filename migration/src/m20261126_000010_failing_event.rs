//! Whether one event alone fails at a destination, and since when the destination can be called.

use sea_orm_migration::prelude::*;

use crate::columns::{add_column, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "destination";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let event = ColumnDef::new("failing_event").uuid().to_owned();
        for column in [event, time(manager, "failing_since"), time(manager, "callable_since")] {
            add_column(manager, TABLE, column).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["callable_since", "failing_since", "failing_event"] {
            manager.alter_table(Table::alter().table(TABLE).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
