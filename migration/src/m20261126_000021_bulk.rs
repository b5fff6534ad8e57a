//! Bulk retries and cancellations, which any process may go on with.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{partial_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const BULK: &str = "bulk";
const PIECE: &str = "bulk_piece";
/// All lines of the log but those of the single events of a bulk. Two names: a session of `SQLite` that has not noticed yet that an
/// index was dropped refuses to create another one of this name.
const LINES: &str = "operator_action_entry";
const LINES_BEFORE: &str = "operator_action_line";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, BULK)
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("kind").string_len(16).not_null())
                    .col(ColumnDef::new("status").string_len(16).not_null())
                    .col(ColumnDef::new("filter").json_binary().not_null())
                    .col(ColumnDef::new("actor").string_len(128).not_null())
                    .col(ColumnDef::new("reason").text())
                    .col(ColumnDef::new("per_second").integer())
                    .col(ColumnDef::new("matched").big_integer().not_null())
                    .col(ColumnDef::new("changed").big_integer().not_null())
                    .col(ColumnDef::new("skipped").big_integer().not_null())
                    .col(ColumnDef::new("collected_to").uuid())
                    .col(ColumnDef::new("pieces").integer().not_null())
                    .col(ColumnDef::new("place").integer().not_null())
                    .col(time(manager, "created_at").not_null())
                    .col(time(manager, "updated_at").not_null())
                    .col(time(manager, "ended_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                table(manager, PIECE)
                    .col(ColumnDef::new("bulk_id").uuid().not_null())
                    .col(ColumnDef::new("number").integer().not_null())
                    .col(ColumnDef::new("event_ids").json_binary().not_null())
                    .primary_key(Index::create().col("bulk_id").col("number"))
                    .to_owned(),
            )
            .await?;
        // What is unfinished, for the process that goes on with it: normally nothing.
        let unfinished = "status IN ('collecting', 'running')";
        partial_index(manager, "bulk_unfinished", BULK, "updated_at", unfinished, "status").await?;
        replace_index(manager, LINES_BEFORE, (LINES, "action NOT IN ('event.revive', 'event.give_up')")).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        replace_index(manager, LINES, (LINES_BEFORE, "action <> 'event.revive'")).await?;
        manager.drop_table(Table::drop().table(PIECE).to_owned()).await?;
        manager.drop_table(Table::drop().table(BULK).to_owned()).await
    }
}

/// `MariaDB` has no such index.
async fn replace_index(
    manager: &SchemaManager<'_>,
    before: &'static str,
    (name, only): (&str, &str),
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        return Ok(());
    }
    partial_index(manager, name, "operator_action", "id", only, "").await?;
    manager.drop_index(Index::drop().name(before).table("operator_action").to_owned()).await
}
