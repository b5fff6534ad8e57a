//! The outbox.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{create_index, partial_index, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "outbox_event";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, TABLE)
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("aggregate_type").string_len(32).not_null())
                    .col(ColumnDef::new("aggregate_id").uuid().not_null())
                    .col(ColumnDef::new("event_type").string_len(64).not_null())
                    .col(ColumnDef::new("destination").string_len(64).not_null())
                    .col(ColumnDef::new("sequence").integer().not_null())
                    .col(ColumnDef::new("payload").json_binary().not_null())
                    .col(ColumnDef::new("trace_context").string_len(64))
                    .col(ColumnDef::new("status").string_len(16).not_null())
                    .col(ColumnDef::new("attempts").integer().not_null())
                    .col(time(manager, "live_since").not_null())
                    .col(time(manager, "due_at").not_null())
                    .col(ColumnDef::new("lease_token").uuid())
                    .col(time(manager, "leased_until"))
                    .col(ColumnDef::new("leased_by").string_len(128))
                    .col(ColumnDef::new("outcome_unknown").boolean().not_null())
                    .col(ColumnDef::new("withdrawn").boolean().not_null())
                    .col(ColumnDef::new("last_error").text())
                    .col(ColumnDef::new("failures").json_binary().not_null())
                    .col(time(manager, "created_at").not_null())
                    .col(time(manager, "settled_at"))
                    .to_owned(),
            )
            .await?;
        indexes(manager).await?;
        storage_settings(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(TABLE).to_owned()).await
    }
}

async fn indexes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // Order per aggregate and destination: no two events share a place, and the claim looks up earlier ones here.
    create_index(
        manager,
        Index::create()
            .name("outbox_event_order")
            .table(TABLE)
            .col("aggregate_id")
            .col("destination")
            .col("sequence")
            .unique()
            .to_owned(),
    )
    .await?;
    // The claim: due events of a destination, oldest first. Partial, so that what is delivered costs it nothing: the
    // index is as small as the backlog, however long the history is.
    let pending = "status = 'pending'";
    partial_index(manager, "outbox_event_claim", TABLE, "destination, due_at, id", pending, "status").await?;
    // The rescue: leases that have run out. As small as what is in flight.
    partial_index(manager, "outbox_event_lease", TABLE, "leased_until", "status = 'leased'", "status").await?;
    // What an operator looks for at 3 a.m.: never pruned, normally empty.
    partial_index(manager, "outbox_event_dead", TABLE, "destination, id", "status = 'dead'", "status").await?;
    // Retention prunes the oldest settled events; dead ones are not among them.
    let prunable = "status IN ('delivered', 'cancelled')";
    partial_index(manager, "outbox_event_settled", TABLE, "settled_at", prunable, "status").await
}

/// `PostgreSQL` writes a new version of a row at each claim and settle. Room in the page keeps it near the old one, and an
/// early autovacuum takes dead versions out of the claim's index before they slow it down: at the default of 20 % of
/// the table, a table of ten million delivered events would first gather two million.
async fn storage_settings(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let sql = "ALTER TABLE outbox_event SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, \
               autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02, \
               autovacuum_vacuum_insert_scale_factor = 0.05)";
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}
