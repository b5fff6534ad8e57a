//! Whether one event alone fails at a destination, and since when the destination can be called.

use sea_orm_migration::prelude::*;

use crate::columns::time;

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "destination";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let event = ColumnDef::new("failing_event").uuid().to_owned();
        for column in [event, time(manager, "failing_since"), time(manager, "callable_since")] {
            manager.alter_table(Table::alter().table(TABLE).add_column(column).to_owned()).await?;
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
