//! Updates many rows, each to its own values, with one statement.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};
use serde_json::{Map, Value as Json};
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
        for (id, cells) in rows {
            let row = self.row(backend, id, cells).to_string();
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

    fn row(&self, backend: DbBackend, id: Uuid, cells: Vec<Cell>) -> Json {
        let mut row = Map::from_iter([("v_id".to_owned(), id.simple().to_string().into())]);
        for (Column(name, _), cell) in self.by_row.iter().zip(cells) {
            if let Some(value) = cell.written(backend) {
                row.insert(format!("v_{name}"), value);
            }
        }
        row.into()
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

impl Cell {
    /// The value in the format of the drivers; `None` keeps the row's value.
    pub(super) fn written(self, backend: DbBackend) -> Option<Json> {
        Some(match (self, backend) {
            (Self::Keep, _) => return None,
            (Self::Text(text), _) => text.into(),
            (Self::Integer(number), _) => number.into(),
            (Self::BigInteger(number), _) => number.into(),
            (Self::Uuid(id), _) => id.simple().to_string().into(),
            (Self::Boolean(yes), DbBackend::Postgres) => yes.into(),
            (Self::Boolean(yes), _) => i32::from(yes).into(),
            (Self::Time(time), DbBackend::MySql) => time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into(),
            (Self::Time(time), _) => time.to_rfc3339_opts(SecondsFormat::AutoSi, false).into(),
            (Self::Json(json), DbBackend::Postgres) => json,
            // The other databases store JSON as text.
            (Self::Json(json), _) => json.to_string().into(),
        })
    }
}
