//! One statement that stores many rows.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};

use super::{
    DatabaseTransaction, Storing,
    update_each::{Cell, Column, Row, Type, mariadb, postgres},
};

/// The names of the values in the parameter, in the order of the columns. Servers read each of them in each row: with the names of the columns a
/// row of an event is longer by a fifth. `PostgreSQL` sorts them, and sees that they are sorted.
const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

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
    /// Further columns, and what they get in each row.
    pub also: &'static [(&'static str, Also)],
    /// What becomes of a row whose key is taken.
    pub if_taken: IfTaken,
}

/// What a further column gets in each row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Also {
    /// A literal of `SQL`.
    Literal(&'static str),
    /// The value of this column.
    Same(&'static str),
}

/// What becomes of a row whose unique key another row has. If that is not committed yet, its transaction is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IfTaken {
    /// It is an error.
    Fail,
    /// It is left out.
    Skip,
    /// It is left out, and those that are stored are named by these columns.
    SkipAndReturn(&'static [&'static str]),
}

impl InsertEach {
    /// Stores `rows` in a transaction of any kind, by as many statements as their bytes ask for.
    ///
    /// # Errors
    /// Any database error; then nothing may be done in `txn` but to roll it back.
    pub(crate) async fn store(&self, txn: &impl Storing, rows: impl Iterator<Item = Vec<Cell>>) -> Result<(), DbErr> {
        let backend = txn.get_database_backend();
        let sql = self.sql(backend);
        for values in Self::values(backend, txn.statement_bytes(), rows) {
            txn.store(Statement::from_sql_and_values(backend, &sql, [values.into()])).await?;
        }
        Ok(())
    }

    /// Stores `rows`, whose cells stand in the order of the columns, by as many statements as their bytes ask for. They may
    /// be sent with the next statement, or with the commit. Hands back what [`if_taken`](Self::if_taken) names of the rows that are stored.
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
        for values in Self::values(backend, txn.statement_bytes(), rows) {
            let statement = Statement::from_sql_and_values(backend, &sql, [values.into()]);
            match self.if_taken {
                IfTaken::Fail | IfTaken::Skip => txn.execute_later(statement).await?,
                IfTaken::SkipAndReturn(_) => stored.extend(txn.query_with_waiting(statement).await?),
            }
        }
        Ok(stored)
    }

    /// The parameter of each statement: a JSON array of objects.
    fn values(backend: DbBackend, bytes_max: usize, rows: impl Iterator<Item = Vec<Cell>>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for cells in rows {
            let row = Row { backend, members: KEYS.into_iter().zip(&cells) }.text();
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
        let Self { table, if_taken, .. } = self;
        assert!(self.columns.len() <= KEYS.len(), "each column has a name in the parameter");
        // Some names are words of the language.
        let quoted = |name: &str| if backend == DbBackend::MySql { format!("`{name}`") } else { format!("\"{name}\"") };
        let names = self.columns.iter().map(|Column(name, _)| *name).chain(self.also.iter().map(|(name, _)| *name));
        let names = names.map(quoted).collect::<Vec<_>>().join(", ");
        let value = |key: &str, kind: Type| match (kind, backend) {
            (Type::Uuid, DbBackend::MySql) => format!("UNHEX(v.{key})"),
            _ => format!("v.{key}"),
        };
        let same = |name: &str| self.each(|key, column| (column.0 == name).then(|| value(key, column.1)));
        let also = self.also.iter().map(|(_, also)| match also {
            Also::Literal(literal) => (*literal).to_owned(),
            Also::Same(name) => same(name),
        });
        let values = [self.each(|key, column| Some(value(key, column.1)))].into_iter().chain(also);
        let values = values.collect::<Vec<_>>().join(", ");
        let returned = |key: &[&str]| key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let (insert, end) = match (if_taken, backend) {
            (IfTaken::Fail, _) => ("INSERT", String::new()),
            (IfTaken::Skip, DbBackend::MySql) => {
                ("INSERT", format!(" ON DUPLICATE KEY UPDATE {table}.id = {table}.id"))
            }
            (IfTaken::Skip, _) => ("INSERT", " ON CONFLICT DO NOTHING".to_owned()),
            (IfTaken::SkipAndReturn(key), DbBackend::MySql) => {
                ("INSERT IGNORE", format!(" RETURNING {}", returned(key)))
            }
            (IfTaken::SkipAndReturn(key), _) => {
                ("INSERT", format!(" ON CONFLICT DO NOTHING RETURNING {}", returned(key)))
            }
        };
        let rows = match backend {
            DbBackend::Postgres => {
                let columns = self.each(|key, column| Some(format!("{key} {}", postgres(column.1))));
                format!("jsonb_to_recordset($1::jsonb) AS v({columns})")
            }
            DbBackend::MySql => {
                let columns = self.each(|key, column| Some(format!("{key} {} PATH '$.{key}'", mariadb(column.1))));
                format!("JSON_TABLE(?, '$[*]' COLUMNS({columns})) AS v")
            }
            _ => {
                let columns = self.each(|key, column| match column.1 {
                    Type::Uuid => Some(format!("unhex(value ->> '{key}') AS {key}")),
                    _ => Some(format!("value ->> '{key}' AS {key}")),
                });
                // Without a condition the grammar takes the conflict that follows for one of a join.
                format!("(SELECT {columns} FROM json_each(?)) AS v WHERE true")
            }
        };
        format!("{insert} INTO {table} ({names}) SELECT {values} FROM {rows}{end}")
    }

    fn each(&self, text: impl Fn(&str, &Column) -> Option<String>) -> String {
        KEYS.into_iter().zip(self.columns).filter_map(|(key, column)| text(key, column)).collect::<Vec<_>>().join(", ")
    }
}
