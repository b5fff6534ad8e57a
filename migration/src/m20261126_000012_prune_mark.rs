//! How far retention has deleted, whatever it was set to then: an audit with another setting misses nothing of it.

use sea_orm_migration::prelude::*;

use crate::columns::{table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "prune_mark";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, TABLE)
                    .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
                    .col(time(manager, "settled_before").not_null())
                    .to_owned(),
            )
            .await?;
        // How far the runs until now have gone was written down nowhere: as far as the last of them could go.
        let known = "INSERT INTO prune_mark (name, settled_before) \
                     SELECT 'outbox_event', last_tick_at FROM schedule \
                     WHERE name = 'retention' AND NOT EXISTS (SELECT 1 FROM prune_mark)";
        manager.get_connection().execute_unprepared(known).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}
