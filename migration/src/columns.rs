//! Columns and tables that each database spells its own way.
//!
//! `MariaDB` commits each statement of a migration. One that fails in the middle is run again from its beginning, so there each
//! statement passes over what is done already.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// `MariaDB`'s comparison of text byte by byte, to the last blank.
pub const EXACT: &str = "utf8mb4_nopad_bin";
/// The same with trailing blanks passed over, as older versions of Feebox had it.
pub const PADDED: &str = "utf8mb4_bin";

/// A table of ours. `MariaDB` compares text without regard to case and trailing blanks unless told otherwise: keys and
/// tokens may not.
pub fn table(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    if manager.get_database_backend() == DbBackend::MySql {
        table.character_set("utf8mb4").collate(EXACT).if_not_exists();
    }
    table
}

/// A point in time with microseconds, the finest that all three databases keep.
pub fn time(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match manager.get_database_backend() {
        DbBackend::MySql => column.custom("datetime(6)"),
        _ => column.timestamp_with_time_zone(),
    };
    column
}

/// Creates an index over the rows that `only` selects where the database has partial indexes, else over `columns` led
/// by `prefix`, the columns that `only` names.
pub async fn partial_index(
    manager: &SchemaManager<'_>,
    name: &str,
    table: &str,
    columns: &str,
    only: &str,
    prefix: &str,
) -> Result<(), DbErr> {
    let sql = match manager.get_database_backend() {
        DbBackend::MySql => format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({prefix}, {columns})"),
        _ => format!("CREATE INDEX {name} ON {table} ({columns}) WHERE {only}"),
    };
    manager.get_connection().execute_unprepared(&sql).await.map(drop)
}

/// Adds a column, unless `MariaDB` has it already.
pub async fn add_column(manager: &SchemaManager<'_>, table: &'static str, column: ColumnDef) -> Result<(), DbErr> {
    let mut change = Table::alter();
    change.table(table);
    match manager.get_database_backend() {
        DbBackend::MySql => change.add_column_if_not_exists(column),
        _ => change.add_column(column),
    };
    manager.alter_table(change).await
}

/// Creates an index, unless `MariaDB` has it already.
pub async fn create_index(manager: &SchemaManager<'_>, index: IndexCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::MySql {
        return manager.create_index(index).await;
    }
    let sql = index.to_string(MysqlQueryBuilder).replacen("INDEX ", "INDEX IF NOT EXISTS ", 1);
    manager.get_connection().execute_unprepared(&sql).await.map(drop)
}

/// Drops an index, unless `MariaDB` has it no longer.
pub async fn drop_index(manager: &SchemaManager<'_>, name: &'static str, table: &'static str) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::MySql {
        return manager.drop_index(Index::drop().name(name).table(table).to_owned()).await;
    }
    let sql = format!("DROP INDEX IF EXISTS {name} ON {table}");
    manager.get_connection().execute_unprepared(&sql).await.map(drop)
}
