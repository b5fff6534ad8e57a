//! Whether the user of `database.url` may read and write each of Feebox's tables, and whether the server takes writes at all.

use entity::{
    audit_progress, audit_run, audit_violation, bulk, bulk_piece, cause_count, circuit_opening, destination,
    fee_record, idempotency_key, operator_action, outbox_event, process, prune_mark, quote, schedule, series,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, IdenStatic, Iterable};

use super::{ERROR_LENGTH_MAX, Finding};
use crate::{
    database::{Database, Kind, kind, lacks_right, lacks_table},
    printable::{chain, printable},
};

/// Tables of Feebox, each with one of its columns.
fn tables() -> [(&'static str, &'static str); 17] {
    [
        table(audit_progress::Entity),
        table(audit_run::Entity),
        table(audit_violation::Entity),
        table(bulk::Entity),
        table(bulk_piece::Entity),
        table(cause_count::Entity),
        table(circuit_opening::Entity),
        table(destination::Entity),
        table(fee_record::Entity),
        table(idempotency_key::Entity),
        table(operator_action::Entity),
        table(outbox_event::Entity),
        table(process::Entity),
        table(prune_mark::Entity),
        table(quote::Entity),
        table(schedule::Entity),
        table(series::Entity),
    ]
}

fn table<E: EntityTrait>(_: E) -> (&'static str, &'static str) {
    let column = E::Column::iter().next().map_or("id", |column| column.as_str());
    (E::default().table_name(), column)
}

/// Each right by a statement that needs it and touches no row. Servers look at rights before rows, and at whether they take writes.
pub(super) async fn examine(db: &Database) -> Vec<Finding> {
    let check = "rights";
    // A file is read or written as a whole, which has been checked.
    if db.connection().get_database_backend() == DbBackend::Sqlite {
        return vec![];
    }
    let mut missing = Vec::new();
    for (table, column) in tables() {
        let statements = [
            ("SELECT", format!("SELECT {column} FROM {table} WHERE 1 = 0")),
            ("INSERT", format!("INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0")),
            ("UPDATE", format!("UPDATE {table} SET {column} = {column} WHERE 1 = 0")),
            ("DELETE", format!("DELETE FROM {table} WHERE 1 = 0")),
        ];
        for (right, statement) in statements {
            match db.connection().execute_unprepared(&statement).await {
                Ok(_) => {}
                // That is said already.
                Err(error) if lacks_table(&error) => break,
                Err(error) if kind(&error) == Kind::ReadOnly => return vec![no_writes(&error)],
                Err(error) if lacks_right(&error) => missing.push(format!("{right} on {table}")),
                Err(error) => return vec![Finding::unknown(check, &error)],
            }
        }
    }
    if missing.is_empty() {
        return vec![Finding::fine(check, "all tables may be read and written")];
    }
    let advice = "GRANT SELECT, INSERT, UPDATE, DELETE on Feebox's tables to the user of database.url";
    vec![Finding::wrong(check, format!("the user may not {}", missing.join(", ")), advice)]
}

fn no_writes(error: &DbErr) -> Finding {
    let detail = printable(&chain(error), ERROR_LENGTH_MAX);
    Finding::wrong("writing", detail, "this is a standby, or a fenced primary: name the primary in database.url")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn each_table_is_looked_at() {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("entity/src")).expect("the entities");
        let stem = |file: fs::DirEntry| file.path().file_stem().expect("a name").to_string_lossy().into_owned();
        let entities: BTreeSet<String> =
            files.map(|file| stem(file.expect("an entry"))).filter(|name| name != "lib").collect();
        let looked_at: BTreeSet<String> = tables().iter().map(|(table, _)| (*table).to_owned()).collect();
        assert_eq!(looked_at, entities);
    }
}
