//! Updates many rows, each to its own values, with one statement.

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value as Json;
use uuid::Uuid;

use super::DatabaseTransaction;

/// A column whose values differ by row, and its type.
#[derive(Clone, Copy, Debug)]
pub struct Column(pub &'static str, pub Type);

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// A 32-bit integer.
    Integer,
    /// A boolean.
    Boolean,
    /// A time with microseconds.
    Time,
    /// JSON.
    Json,
    /// A UUID.
    Uuid,
    /// A number of 64 bits.
    BigInteger,
}

/// The value of one column in one row.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Keeps the row's value; NULL in a new row.
    Keep,
    /// For [`Type::Text`].
    Text(String),
    /// For [`Type::Integer`].
    Integer(i32),
    /// For [`Type::Boolean`].
    Boolean(bool),
    /// For [`Type::Time`].
    Time(DateTime<Utc>),
    /// For [`Type::Json`].
    Json(Json),
    /// For [`Type::Uuid`].
    Uuid(Uuid),
    /// For [`Type::BigInteger`].
    BigInteger(i64),
}

/// An update of rows of a table, found by their `id`.
///
/// The values of all rows are one JSON parameter, which the database expands and joins. The statement's text and its plan are
/// the same for one row and for a thousand, and its cost is linear. A `CASE` with a branch for each row would be quadratic.
#[derive(Clone, Copy, Debug)]
pub struct UpdateEach<'a> {
    /// The table's name.
    pub table: &'static str,
    /// Columns that get the same value in each row.
    pub to_all: &'a [(&'static str, Value)],
    /// Columns that get a value by row.
    pub by_row: &'a [Column],
}

impl UpdateEach<'_> {
    /// Updates `rows`, each given by its id and its cells in the order of `by_row`, with as many statements as their size
    /// requires. They may be sent with the next statement, or with the commit.
    ///
    /// # Errors
    /// Any database error.
    pub async fn run(&self, txn: &DatabaseTransaction, rows: Vec<(Uuid, Vec<Cell>)>) -> Result<(), DbErr> {
        for statement in self.statements(txn.get_database_backend(), txn.statement_bytes(), rows) {
            txn.execute_later(statement).await?;
        }
        Ok(())
    }

    /// The statements, each with up to `bytes_max` bytes of values. Public for tests of their plans.
    #[must_use]
    pub fn statements(&self, backend: DbBackend, bytes_max: usize, rows: Vec<(Uuid, Vec<Cell>)>) -> Vec<Statement> {
        let sql = self.sql(backend);
        let values = self.values(backend, bytes_max, rows).into_iter().map(|values| {
            let same = self.to_all.iter().map(|(_, value)| value.clone());
            // PostgreSQL's parameters are numbered; elsewhere they follow the order of the text.
            let values: Vec<Value> = match backend {
                DbBackend::Sqlite => same.chain([values.into()]).collect(),
                _ => std::iter::once(values.into()).chain(same).collect(),
            };
            Statement::from_sql_and_values(backend, &sql, values)
        });
        values.collect()
    }

    /// The parameter of each statement.
    fn values(&self, backend: DbBackend, bytes_max: usize, rows: Vec<(Uuid, Vec<Cell>)>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let keys: Vec<_> = self.by_row.iter().map(|Column(name, _)| format!("v_{name}")).collect();
        for (id, cells) in rows {
            let id = ("v_id", &Cell::Uuid(id));
            let cells = keys.iter().map(String::as_str).zip(&cells);
            let row = Row { backend, members: [id].into_iter().chain(cells) }.text();
            match all.last_mut() {
                Some(values) if values.len() + row.len() <= bytes_max => {
                    values.push(',');
                    values.push_str(&row);
                }
                _ => all.push(format!("[{row}")),
            }
        }
        for values in &mut all {
            values.push(']');
        }
        all
    }

    fn sql(&self, backend: DbBackend) -> String {
        let Self { table, .. } = self;
        let rows = self.rows(backend);
        let changes = self.changes(backend);
        match backend {
            // The order of the join is fixed, because a wrong guess of the planner reads the whole table.
            DbBackend::MySql => {
                format!("UPDATE {rows} STRAIGHT_JOIN {table} ON {table}.id = UNHEX(v_id) SET {changes}")
            }
            // The ids are also given as an array that is known before the plan runs, so that even a cached plan of a small
            // table looks them up by the key.
            DbBackend::Postgres => format!(
                "UPDATE {table} SET {changes} FROM {rows} WHERE {table}.id = v_id \
                 AND {table}.id = ANY (ARRAY(SELECT v_id FROM jsonb_to_recordset($1::jsonb) AS ids(v_id uuid)))"
            ),
            _ => format!("UPDATE {table} SET {changes} FROM {rows} WHERE {table}.id = v_id"),
        }
    }

    fn changes(&self, backend: DbBackend) -> String {
        let same = self.to_all.iter().enumerate().map(|(at, (name, _))| match backend {
            DbBackend::Postgres => format!("{name} = ${}", at + 2),
            _ => format!("{name} = ?"),
        });
        let by_row = self.by_row.iter().map(|Column(name, kind)| {
            // Texts of different collations are comparable only with an explicit collation.
            let collation = match (backend, kind) {
                (DbBackend::MySql, Type::Text | Type::Json) => " COLLATE utf8mb4_bin",
                _ => "",
            };
            format!("{name} = COALESCE(v_{name}{collation}, {name})")
        });
        same.chain(by_row).collect::<Vec<_>>().join(", ")
    }

    /// The parameter, expanded to a table `v` with the columns `v_id` and `v_<name>` for each column of `by_row`.
    fn rows(&self, backend: DbBackend) -> String {
        let columns = |column: fn(&str, Type) -> String| {
            self.by_row.iter().map(|Column(name, kind)| column(name, *kind)).collect::<String>()
        };
        match backend {
            DbBackend::Postgres => {
                let columns = columns(|name, kind| format!(", v_{name} {}", postgres(kind)));
                format!("jsonb_to_recordset($1::jsonb) AS v(v_id uuid{columns})")
            }
            DbBackend::MySql => {
                let columns = columns(|name, kind| format!(", v_{name} {} PATH '$.v_{name}'", mariadb(kind)));
                format!("JSON_TABLE(?, '$[*]' COLUMNS(v_id CHAR(32) PATH '$.v_id'{columns})) AS v")
            }
            _ => {
                let columns = columns(|name, _| format!(", value ->> 'v_{name}' AS v_{name}"));
                format!("(SELECT unhex(value ->> 'v_id') AS v_id{columns} FROM json_each(?)) AS v")
            }
        }
    }
}

pub(super) fn postgres(kind: Type) -> &'static str {
    match kind {
        Type::Text => "text",
        Type::Integer => "integer",
        Type::Boolean => "boolean",
        Type::Time => "timestamptz",
        Type::Json => "jsonb",
        Type::Uuid => "uuid",
        Type::BigInteger => "bigint",
    }
}

pub(super) fn mariadb(kind: Type) -> &'static str {
    match kind {
        Type::Text | Type::Json => "LONGTEXT CHARACTER SET utf8mb4",
        Type::Integer => "INTEGER",
        Type::Boolean => "TINYINT",
        Type::Time => "DATETIME(6)",
        Type::Uuid => "CHAR(32)",
        Type::BigInteger => "BIGINT",
    }
}

/// A row of a statement's parameter: an object with a member for each cell that is not kept.
pub(super) struct Row<I> {
    pub backend: DbBackend,
    /// Names and cells.
    pub members: I,
}

impl<'a, I: Iterator<Item = (&'a str, &'a Cell)> + Clone> Row<I> {
    /// As text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names are text")
    }
}

impl<'a, I: Iterator<Item = (&'a str, &'a Cell)> + Clone> Serialize for Row<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(None)?;
        for (name, cell) in self.members.clone().filter(|(_, cell)| !matches!(cell, Cell::Keep)) {
            row.serialize_entry(name, &Written(cell, self.backend))?;
        }
        row.end()
    }
}

/// A value in the format of the drivers.
struct Written<'a>(&'a Cell, DbBackend);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(cell, backend) = self;
        match (cell, backend) {
            (Cell::Keep, _) => serializer.serialize_unit(),
            (Cell::Text(text), _) => serializer.serialize_str(text),
            (Cell::Integer(number), _) => serializer.serialize_i32(*number),
            (Cell::BigInteger(number), _) => serializer.serialize_i64(*number),
            (Cell::Uuid(id), _) => serializer.serialize_str(id.simple().encode_lower(&mut Uuid::encode_buffer())),
            (Cell::Boolean(yes), DbBackend::Postgres) => serializer.serialize_bool(*yes),
            (Cell::Boolean(yes), _) => serializer.serialize_i32((*yes).into()),
            // With a space, without a zone, and with no more digits than the column has.
            (Cell::Time(time), DbBackend::MySql) => serializer.collect_str(&time.naive_utc().trunc_subsecs(6)),
            (Cell::Time(time), _) => serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, false)),
            (Cell::Json(json), DbBackend::Postgres) => json.serialize(serializer),
            // The other databases store JSON as text.
            (Cell::Json(json), _) => serializer.serialize_str(&json.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_values_that_each_database_reads() {
        let at = DateTime::parse_from_rfc3339("2026-11-28T03:04:05.123456789Z").expect("a time").to_utc();
        let cells = [
            Cell::Text("a \"b\"".into()),
            Cell::Keep,
            Cell::Boolean(true),
            Cell::Time(at),
            Cell::Json(serde_json::json!({ "c": [1] })),
            Cell::Uuid(Uuid::from_u128(7)),
        ];
        let row = |backend| Row { backend, members: ["t", "k", "b", "at", "j", "id"].into_iter().zip(&cells) }.text();
        let id = r#""id":"00000000000000000000000000000007""#;
        let postgres = r#"{"t":"a \"b\"","b":true,"at":"2026-11-28T03:04:05.123456789+00:00","j":{"c":[1]},"#;
        assert_eq!(row(DbBackend::Postgres), format!("{postgres}{id}}}"));
        let mariadb = r#"{"t":"a \"b\"","b":1,"at":"2026-11-28 03:04:05.123456","j":"{\"c\":[1]}","#;
        assert_eq!(row(DbBackend::MySql), format!("{mariadb}{id}}}"));
    }
}
