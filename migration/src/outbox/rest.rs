//! What Feebox's mixed migrations do to the tables of the outbox: `m20261126_000012_prune_mark`, `m20261126_000013_list_indexes`,
//! `m20261126_000018_submitted_by` and `m20261126_000024_limits_and_series`.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{add_column, partial_index, table, time};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000024_rest"
    }
}

const EVENTS: &str = "outbox_event";
const DESTINATION: &str = "destination";
const MARKS: &str = "prune_mark";
const TURNS: &str = "outbox_event_turn";
const CANCELLED: &str = "outbox_event_cancelled";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        // Names are compared byte by byte, which is faster, and the same everywhere.
        let (exists, exact) = match backend {
            DbBackend::Postgres => ("", " COLLATE \"C\""),
            DbBackend::MySql => (" IF NOT EXISTS", ""),
            _ => ("", ""),
        };
        let partner = format!("ALTER TABLE {EVENTS} ADD COLUMN{exists} partner varchar(64){exact} NOT NULL DEFAULT ''");
        manager.get_connection().execute_unprepared(&partner).await?;
        partial_index(manager, TURNS, EVENTS, "destination, partner, due_at", "status = 'pending'", "status").await?;
        if backend != DbBackend::MySql {
            partial_index(manager, CANCELLED, EVENTS, "destination, id", "status = 'cancelled'", "").await?;
        }
        let columns = [
            ColumnDef::new("limit_per_second").integer().to_owned(),
            ColumnDef::new("limit_in_flight").integer().to_owned(),
            time(manager, "next_call_at"),
        ];
        for column in columns {
            add_column(manager, DESTINATION, column).await?;
        }
        let mark = table(manager, MARKS)
            .col(ColumnDef::new("name").string_len(64).not_null().primary_key())
            .col(time(manager, "settled_before").not_null())
            .to_owned();
        manager.create_table(mark).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(MARKS).to_owned()).await?;
        for column in ["next_call_at", "limit_in_flight", "limit_per_second"] {
            manager.alter_table(Table::alter().table(DESTINATION).drop_column(column).to_owned()).await?;
        }
        if manager.get_database_backend() != DbBackend::MySql {
            manager.drop_index(Index::drop().name(CANCELLED).table(EVENTS).to_owned()).await?;
        }
        manager.drop_index(Index::drop().name(TURNS).table(EVENTS).to_owned()).await?;
        manager.alter_table(Table::alter().table(EVENTS).drop_column("partner").to_owned()).await
    }
}
