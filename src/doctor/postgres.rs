//! What slows a PostgreSQL server down, or holds it up.

use std::time::Duration;

use sea_orm::FromQueryResult;

use super::{Finding, Named, older, rows};
use crate::database::Database;

/// A transaction as old keeps vacuum from what has become of the outbox since.
const OLD_TRANSACTION: &str = "\
    SELECT pid::text AS name, coalesce(application_name, '') || ', ' || state || ', since ' || date_trunc('second', xact_start) AS value \
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
        AND xact_start <= now() - {age} * interval '1 second' ORDER BY xact_start LIMIT 5";
const OLD_PREPARED: &str = "\
    SELECT gid AS name, 'since ' || date_trunc('second', prepared) AS value FROM pg_prepared_xacts \
    WHERE database = current_database() AND prepared <= now() - {age} * interval '1 second' ORDER BY prepared LIMIT 5";
const TABLES: &str = "\
    SELECT s.relname::text AS name, s.n_live_tup AS live, s.n_dead_tup AS dead, \
        greatest(s.last_analyze, s.last_autoanalyze) IS NOT NULL AS analyzed, \
        coalesce(array_to_string(c.reloptions, ',') LIKE '%autovacuum_enabled=false%', false) AS is_off \
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid WHERE s.schemaname = ANY (current_schemas(false)) \
        AND s.relname IN ('outbox_event', 'quote', 'fee_record', 'idempotency_key')";
const REPLICATION: &str = "\
    SELECT 'synchronous_standby_names' AS name, current_setting('synchronous_standby_names') AS value \
    UNION ALL SELECT 'synchronous', count(*)::text FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') \
    UNION ALL SELECT 'behind_bytes', max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::bigint::text FROM pg_stat_replication \
    UNION ALL SELECT 'slot ' || slot_name, (pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint::text \
        FROM pg_replication_slots WHERE NOT active";

/// More dead rows than this, and than live ones, are bloat.
const DEAD_ROWS_MAX: i64 = 200_000;
/// Planning with no statistics goes wrong beyond so many rows.
const UNKNOWN_ROWS_MAX: i64 = 10_000;
/// A standby that is as far behind would take minutes to catch up; a slot that is, fills the disk.
const BEHIND_BYTES_MAX: i64 = 1024 * 1024 * 1024;

#[derive(Debug, FromQueryResult)]
struct Table {
    name: String,
    live: i64,
    dead: i64,
    analyzed: bool,
    is_off: bool,
}

pub(super) async fn examine(db: &Database, transaction_age: Duration) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(tables(db).await);
    found.extend(transactions(db, transaction_age).await);
    found.extend(replication(db).await);
    found
}

async fn tables(db: &Database) -> Vec<Finding> {
    let check = "statistics";
    let tables: Vec<Table> = match rows(db, TABLES).await {
        Ok(tables) => tables,
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    let autovacuum: Vec<Named> =
        rows(db, "SELECT name, setting AS value FROM pg_settings WHERE name = 'autovacuum'").await.unwrap_or_default();
    let mut found = Vec::new();
    if autovacuum.iter().any(|row| row.value.as_deref() == Some("off")) {
        let advice = "set autovacuum = on: without it the outbox grows and its plans go wrong";
        found.push(Finding::wrong(check, "autovacuum is off", advice));
    }
    for Table { name, live, dead, analyzed, is_off } in tables {
        let advice = format!("run VACUUM (ANALYZE) {name}, and find out why autovacuum does not");
        if is_off {
            let advice = format!("ALTER TABLE {name} RESET (autovacuum_enabled)");
            found.push(Finding::wrong(check, format!("autovacuum is off for {name}"), advice));
        } else if dead > DEAD_ROWS_MAX && dead > live {
            found.push(Finding::wrong("bloat", format!("{name} has {dead} dead rows beside {live} live ones"), advice));
        } else if !analyzed && live > UNKNOWN_ROWS_MAX {
            found.push(Finding::wrong(check, format!("{name} was never analyzed, with {live} rows"), advice));
        }
    }
    if found.is_empty() { vec![Finding::fine(check, "tables are vacuumed and analyzed")] } else { found }
}

async fn transactions(db: &Database, age: Duration) -> Vec<Finding> {
    let check = "long transactions";
    let mut found = Vec::new();
    match rows::<Named>(db, &older(OLD_TRANSACTION, age)).await {
        Ok(open) => found.extend(open.into_iter().map(|Named { name, value }| {
            let detail =
                format!("session {name} ({}) has had a transaction open for too long", value.unwrap_or_default());
            Finding::wrong(
                check,
                detail,
                format!("it keeps vacuum from the outbox: end it, or SELECT pg_terminate_backend({name})"),
            )
        })),
        Err(error) => return vec![Finding::unknown(check, &error)],
    }
    for Named { name, value } in rows::<Named>(db, &older(OLD_PREPARED, age)).await.unwrap_or_default() {
        let detail = format!(
            "transaction {name:?} is prepared {} and neither committed nor rolled back",
            value.unwrap_or_default()
        );
        found.push(Finding::wrong(check, detail, format!("it holds its locks: COMMIT or ROLLBACK PREPARED '{name}'")));
    }
    if found.is_empty() { vec![Finding::fine(check, "none")] } else { found }
}

async fn replication(db: &Database) -> Vec<Finding> {
    let check = "replication";
    let facts: Vec<Named> = match rows(db, REPLICATION).await {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    let text =
        |name: &str| facts.iter().find(|row| row.name == name).and_then(|row| row.value.as_deref()).unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    let mut found = Vec::new();
    let wanted = text("synchronous_standby_names");
    if !wanted.is_empty() && number(text("synchronous")) == 0 {
        let advice =
            "commits wait for a standby that is not there: start it, or take it out of synchronous_standby_names";
        found.push(Finding::wrong(check, format!("no synchronous standby of {wanted:?} is connected"), advice));
    }
    if number(text("behind_bytes")) > BEHIND_BYTES_MAX {
        let detail = format!("a standby is {} MiB behind", number(text("behind_bytes")) / 1024 / 1024);
        found.push(Finding::wrong(check, detail, "a fail-over to it would take minutes: look at its disk and network"));
    }
    for slot in facts.iter().filter(|row| row.name.starts_with("slot ")) {
        let bytes = number(slot.value.as_deref().unwrap_or_default());
        if bytes > BEHIND_BYTES_MAX {
            let detail = format!("nobody reads {}, which keeps {} MiB of the log", slot.name, bytes / 1024 / 1024);
            found.push(Finding::wrong(
                check,
                detail,
                "it fills the disk: start its reader, or pg_drop_replication_slot",
            ));
        }
    }
    if found.is_empty() {
        let detail = if wanted.is_empty() {
            "no synchronous standby is configured"
        } else {
            "the synchronous standby is connected"
        };
        found.push(Finding::fine(check, detail));
    }
    found
}
