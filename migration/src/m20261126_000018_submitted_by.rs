//! Whose quotes and events they are, and who cancelled a quote.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::columns::{add_column, partial_index};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Under this name keys were stored where no tokens were configured. It is nobody's.
const ANONYMOUS: &str = "anonymous";

const QUOTES: &str = "quote_submitter";
const TURNS: &str = "outbox_event_turn";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// What is known of older quotes is the name that their `Idempotency-Key` was scoped to, as long as the key is kept.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut submitted_by = ColumnDef::new("submitted_by");
        submitted_by.string_len(64);
        let mut cancelled_by = ColumnDef::new("cancelled_by");
        cancelled_by.string_len(128);
        for column in [submitted_by, cancelled_by] {
            add_column(manager, "quote", column).await?;
        }
        let connection = manager.get_connection();
        // Names are compared byte by byte, which is faster, and the same everywhere.
        let (exists, exact) = match manager.get_database_backend() {
            DbBackend::Postgres => ("", " COLLATE \"C\""),
            DbBackend::MySql => (" IF NOT EXISTS", ""),
            _ => ("", ""),
        };
        let partner =
            format!("ALTER TABLE outbox_event ADD COLUMN{exists} partner varchar(64){exact} NOT NULL DEFAULT ''");
        connection.execute_unprepared(&partner).await?;
        for known in known(manager.get_database_backend()) {
            connection.execute_unprepared(&known).await?;
        }
        // The list of a submitter's quotes, newest first. Where no tokens are configured nothing enters it.
        match manager.get_database_backend() {
            DbBackend::MySql => {
                let sql = format!("CREATE INDEX IF NOT EXISTS {QUOTES} ON quote (submitted_by, id)");
                connection.execute_unprepared(&sql).await?;
            }
            _ => partial_index(manager, QUOTES, "quote", "submitted_by, id", "submitted_by IS NOT NULL", "").await?,
        }
        // Whose turn it is: the partners that have something pending, and what is due first of each.
        let turn = "destination, partner, due_at";
        partial_index(manager, TURNS, "outbox_event", turn, "status = 'pending'", "status").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (index, table) in [(TURNS, "outbox_event"), (QUOTES, "quote")] {
            manager.drop_index(Index::drop().name(index).table(table).to_owned()).await?;
        }
        for (table, column) in [("outbox_event", "partner"), ("quote", "cancelled_by"), ("quote", "submitted_by")] {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}

/// The statements that fill the columns of older quotes, and of their events that are not settled.
fn known(backend: DbBackend) -> [String; 2] {
    let of_quotes = match backend {
        DbBackend::Postgres => format!(
            "UPDATE quote SET submitted_by = k.scope \
             FROM idempotency_key k CROSS JOIN jsonb_array_elements_text(k.quote_ids) AS of(id) \
             WHERE quote.id = of.id::uuid AND k.scope <> '{ANONYMOUS}'"
        ),
        DbBackend::MySql => format!(
            "UPDATE quote JOIN (SELECT k.scope, UNHEX(REPLACE(of.id, '-', '')) AS id FROM idempotency_key k, \
             JSON_TABLE(k.quote_ids, '$[*]' COLUMNS(id CHAR(36) PATH '$')) AS of WHERE k.scope <> '{ANONYMOUS}') AS of \
             ON quote.id = of.id SET quote.submitted_by = of.scope"
        ),
        _ => format!(
            "UPDATE quote SET submitted_by = of.scope \
             FROM (SELECT k.scope AS scope, unhex(replace(of.value, '-', '')) AS id \
                 FROM idempotency_key k, json_each(k.quote_ids) AS of WHERE k.scope <> '{ANONYMOUS}') AS of \
             WHERE quote.id = of.id"
        ),
    };
    let of_events = match backend {
        DbBackend::MySql => {
            "UPDATE outbox_event e JOIN quote q ON q.id = e.aggregate_id SET e.partner = q.submitted_by \
             WHERE e.status IN ('pending', 'leased', 'dead') AND q.submitted_by IS NOT NULL"
                .to_owned()
        }
        _ => "UPDATE outbox_event SET partner = q.submitted_by FROM quote q WHERE q.id = outbox_event.aggregate_id \
             AND outbox_event.status IN ('pending', 'leased', 'dead') AND q.submitted_by IS NOT NULL"
            .to_owned(),
    };
    [of_quotes, of_events]
}
