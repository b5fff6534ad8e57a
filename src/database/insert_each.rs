//! One statement that stores many rows.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};

use super::{
    DatabaseTransaction,
    update_each::{Cell, Column, mariadb, postgres},
};
use crate::database::update_each::Type;

/// An insert of rows into a table.
///
/// The values of all rows are one parameter, which the database unfolds: the statement's text, and with it its plan, is the
/// same for one row and for a thousand, so that it is parsed once a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsertEach {
    /// The table's name.
    pub table: &'static str,
    /// The columns that are stored.
    pub columns: &'static [Column],
    /// Further columns, and what they get in each row: a literal of `SQL`, or `v.` and the name of one of the columns.
    pub also: &'static [(&'static str, &'static str)],
    /// The columns of a unique key; a row whose key is taken is left out, after the transaction that takes it has ended.
    /// Without one such a row is an error.
    pub unless_taken: &'static [&'static str],
}

impl InsertEach {
    /// Stores `rows`, whose cells stand in the order of the columns, by as many statements as their bytes ask for. Hands
    /// back the keys of the rows that are stored, where [`unless_taken`](Self::unless_taken) names them, else nothing.
    ///
    /// # Errors
    /// Any database error; then nothing may be done in `txn` but to roll it back.
    pub(crate) async fn run(
        &self,
        txn: &DatabaseTransaction,
        rows: impl Iterator<Item = Vec<Cell>>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let backend = txn.get_database_backend();
        let (sql, mut stored) = (self.sql(backend), Vec::new());
        for values in self.values(backend, txn.statement_bytes(), rows) {
            let statement = Statement::from_sql_and_values(backend, &sql, [values.into()]);
            if self.unless_taken.is_empty() {
                txn.execute_raw(statement).await?;
            } else {
                stored.extend(txn.query_all_raw(statement).await?);
            }
        }
        Ok(stored)
    }

    /// The parameter of each statement: a JSON array of objects.
    fn values(&self, backend: DbBackend, bytes_max: usize, rows: impl Iterator<Item = Vec<Cell>>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for cells in rows {
            let mut row = String::from("{");
            for (Column(name, _), cell) in self.columns.iter().zip(cells) {
                if let Some(value) = cell.written(backend) {
                    if row.len() > 1 {
                        row.push(',');
                    }
                    row.push_str(&format!("\"{name}\":{value}"));
                }
            }
            row.push('}');
            match all.last_mut() {
                Some(values) if values.len() + row.len() < bytes_max => {
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
        let Self { table, unless_taken, .. } = self;
        let also = |part: fn(&(&'static str, &'static str)) -> &'static str| {
            self.also.iter().map(|it| format!(", {}", part(it))).collect::<String>()
        };
        let names = self.each(|name, _| name.to_owned()) + &also(|(name, _)| name);
        let values = self.each(|name, kind| match (kind, backend) {
            (Type::Uuid, DbBackend::MySql) => format!("UNHEX(v.{name})"),
            _ => format!("v.{name}"),
        }) + &also(|(_, value)| value);
        let key = unless_taken.join(", ");
        let (insert, end) = match (unless_taken.is_empty(), backend) {
            (true, _) => ("INSERT", String::new()),
            (false, DbBackend::MySql) => ("INSERT IGNORE", format!(" RETURNING {key}")),
            (false, _) => ("INSERT", format!(" ON CONFLICT ({key}) DO NOTHING RETURNING {key}")),
        };
        let rows = match backend {
            DbBackend::Postgres => {
                let columns = self.each(|name, kind| format!("{name} {}", postgres(kind)));
                format!("jsonb_to_recordset($1::jsonb) AS v({columns})")
            }
            DbBackend::MySql => {
                let columns = self.each(|name, kind| format!("{name} {} PATH '$.{name}'", mariadb(kind)));
                format!("JSON_TABLE(?, '$[*]' COLUMNS({columns})) AS v")
            }
            _ => {
                let columns = self.each(|name, kind| match kind {
                    Type::Uuid => format!("unhex(value ->> '{name}') AS {name}"),
                    _ => format!("value ->> '{name}' AS {name}"),
                });
                // Without a condition the grammar takes the conflict that follows for one of a join.
                format!("(SELECT {columns} FROM json_each(?)) AS v WHERE true")
            }
        };
        format!("{insert} INTO {table} ({names}) SELECT {values} FROM {rows}{end}")
    }

    fn each(&self, column: impl Fn(&str, Type) -> String) -> String {
        self.columns.iter().map(|Column(name, kind)| column(name, *kind)).collect::<Vec<_>>().join(", ")
    }
}
