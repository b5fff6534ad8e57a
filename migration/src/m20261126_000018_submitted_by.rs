//! Whose quotes and events they are, and who cancelled a quote.

use std::collections::BTreeMap;

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, Statement},
};

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
        match manager.get_database_backend() {
            DbBackend::MySql => fill_in_pieces(connection).await?,
            backend => {
                for known in known(backend) {
                    connection.execute_unprepared(&known).await?;
                }
            }
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
        _ => format!(
            "UPDATE quote SET submitted_by = of.scope \
             FROM (SELECT k.scope AS scope, unhex(replace(of.value, '-', '')) AS id \
                 FROM idempotency_key k, json_each(k.quote_ids) AS of WHERE k.scope <> '{ANONYMOUS}') AS of \
             WHERE quote.id = of.id"
        ),
    };
    let of_events = "UPDATE outbox_event SET partner = q.submitted_by FROM quote q WHERE q.id = outbox_event.aggregate_id \
                     AND outbox_event.status IN ('pending', 'leased', 'dead') AND q.submitted_by IS NOT NULL";
    [of_quotes, of_events.to_owned()]
}

/// The same on `MariaDB`, where each statement commits by itself and old processes go on: one for all rows would hold their locks for
/// seconds, and old versions answer a deadlock with an error. A crash leaves the rest to the next run.
async fn fill_in_pieces(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    const KEYS: &str = "SELECT k.scope, k.`key`, REPLACE(of.id, '-', '') AS id \
         FROM (SELECT scope, `key`, quote_ids FROM idempotency_key \
             WHERE scope <> 'anonymous' AND (scope > ? OR (scope = ? AND `key` > ?)) ORDER BY scope, `key` LIMIT 200) k \
         LEFT JOIN JSON_TABLE(k.quote_ids, '$[*]' COLUMNS(id CHAR(36) PATH '$')) AS of ON TRUE ORDER BY k.scope, k.`key`";
    let mut last = (String::new(), String::new());
    loop {
        let after = [last.0.as_str().into(), last.0.as_str().into(), last.1.as_str().into()];
        let rows = connection.query_all_raw(Statement::from_sql_and_values(DbBackend::MySql, KEYS, after)).await?;
        let mut of_owner: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &rows {
            let (owner, id): (String, Option<String>) = (row.try_get("", "scope")?, row.try_get("", "id")?);
            last = (owner.clone(), row.try_get("", "key")?);
            let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            of_owner.entry(owner).or_default().extend(id.filter(is_id).map(|id| format!("x'{id}'")));
        }
        if rows.is_empty() {
            return Ok(());
        }
        for (owner, ids) in of_owner {
            for ids in ids.chunks(100) {
                let ids = ids.join(", ");
                for sql in [
                    format!("UPDATE quote SET submitted_by = ? WHERE id IN ({ids}) AND submitted_by IS NULL"),
                    format!(
                        "UPDATE outbox_event SET partner = ? WHERE aggregate_id IN ({ids}) \
                             AND status IN ('pending', 'leased', 'dead') AND partner = ''"
                    ),
                ] {
                    let values = [owner.as_str().into()];
                    connection.execute_raw(Statement::from_sql_and_values(DbBackend::MySql, sql, values)).await?;
                }
            }
        }
    }
}
