//! Statements whose results nobody needs, sent in one message with the next one or with the commit: they cost no round trip.
//!
//! The drivers send one statement and wait for its answer. Several fit into one message only as text, with their values in it.
//! `PostgreSQL` plans such a text anew each time, so there each session prepares a statement by name once and executes it with
//! the values. `MariaDB` keeps no plans anyway. A server stops at the first statement that fails, so a commit at the end is
//! executed only if all of them succeeded.

use std::{collections::HashMap, fmt::Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{DbBackend, Statement, Value};

/// The statements that a `PostgreSQL` session has prepared for messages, by their texts.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    names: HashMap<String, u32>,
    /// Never used again: after a failed message it is unknown whether its names exist.
    last_name: u32,
}

/// A message, and what the session has prepared if it succeeds.
pub(super) struct Message {
    pub(super) text: String,
    new: Vec<(String, u32)>,
}

impl Prepared {
    /// `statements`, all of which [`fits`](fits()), followed by `end`.
    pub(super) fn message(&mut self, backend: DbBackend, statements: &[Statement], end: &str) -> Message {
        let mut message = Message { text: String::new(), new: Vec::new() };
        for statement in statements {
            let values = statement.values.iter().flat_map(|values| &values.0);
            let values: Vec<_> = values.filter_map(|value| literal(backend, value)).collect();
            if backend == DbBackend::Postgres && !values.is_empty() {
                let name = self.name(statement, &mut message);
                // Writing to a text does not fail.
                let _ = write!(message.text, "EXECUTE feebox_{name} ({}); ", values.join(", "));
            } else {
                with_values(&mut message.text, &statement.sql, values);
                message.text.push_str("; ");
            }
        }
        message.text.push_str(end);
        message
    }

    /// The name under which `statement` is prepared, by this message at the latest.
    fn name(&mut self, statement: &Statement, message: &mut Message) -> u32 {
        let is_new = |(sql, _): &&(String, u32)| *sql == statement.sql;
        if let Some(name) = self.names.get(&statement.sql) {
            return *name;
        }
        if let Some((_, name)) = message.new.iter().find(is_new) {
            return *name;
        }
        self.last_name += 1;
        let _ = write!(message.text, "PREPARE feebox_{} AS {}; ", self.last_name, statement.sql);
        message.new.push((statement.sql.clone(), self.last_name));
        self.last_name
    }

    /// `message` was executed to its end.
    pub(super) fn succeeded(&mut self, message: Message) {
        self.names.extend(message.new);
    }
}

/// Whether `statement` can be part of a message: each of its values has a literal.
pub(super) fn fits(backend: DbBackend, statement: &Statement) -> bool {
    let mut values = statement.values.iter().flat_map(|values| &values.0);
    backend != DbBackend::Sqlite && values.all(|value| literal(backend, value).is_some())
}

/// The size of `statement` in a message, in bytes, about.
pub(super) fn size(statement: &Statement) -> usize {
    let of = |value: &Value| if let Value::String(Some(text)) = value { text.len() } else { 40 };
    statement.sql.len() + statement.values.iter().flat_map(|values| &values.0).map(of).sum::<usize>()
}

/// Writes `sql` with a literal in the place of each question mark that is not quoted.
fn with_values(text: &mut String, sql: &str, values: Vec<String>) {
    let (mut values, mut quote) = (values.into_iter(), None);
    for character in sql.chars() {
        if character == '?' && quote.is_none() {
            text.push_str(&values.next().unwrap_or_default());
            continue;
        }
        if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"' | '`') {
            quote = Some(character);
        }
        text.push(character);
    }
}

/// `value` as the server reads it in a text. The session has standard strings on `PostgreSQL`, and those with backslashes on
/// `MariaDB` (`opener`).
fn literal(backend: DbBackend, value: &Value) -> Option<String> {
    let is_mariadb = backend == DbBackend::MySql;
    let text = |text: &str| {
        let text = text.replace('\'', "''");
        format!("'{}'", if is_mariadb { text.replace('\\', "\\\\") } else { text })
    };
    let time = |at: &DateTime<Utc>| {
        if is_mariadb {
            at.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
        } else {
            at.to_rfc3339_opts(SecondsFormat::AutoSi, false)
        }
    };
    Some(match value {
        Value::String(None) | Value::Uuid(None) | Value::ChronoDateTimeUtc(None) => "NULL".into(),
        // It ends a text on the wire.
        Value::String(Some(value)) if value.contains('\0') => return None,
        Value::String(Some(value)) => text(value),
        Value::Uuid(Some(id)) if is_mariadb => format!("x'{}'", id.simple()),
        Value::Uuid(Some(id)) => format!("'{id}'"),
        Value::ChronoDateTimeUtc(Some(at)) => format!("'{}'", time(at)),
        Value::Int(Some(number)) => number.to_string(),
        Value::BigInt(Some(number)) => number.to_string(),
        Value::Bool(Some(yes)) => yes.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(backend: DbBackend, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(backend, sql, values)
    }

    #[test]
    fn postgres_prepares_a_statement_once_and_executes_it_with_literals() {
        let backend = DbBackend::Postgres;
        let insert = statement(backend, "INSERT INTO t SELECT $1::jsonb", [r#"["it's \"a\\b\""]"#.into()]);
        let mut prepared = Prepared::default();
        let first = prepared.message(backend, &[insert.clone(), insert.clone()], "COMMIT");
        let literal = r#"'["it''s \"a\\b\""]'"#;
        assert_eq!(
            first.text,
            format!(
                "PREPARE feebox_1 AS INSERT INTO t SELECT $1::jsonb; EXECUTE feebox_1 ({literal}); \
                 EXECUTE feebox_1 ({literal}); COMMIT"
            )
        );
        // It failed: its name may exist.
        drop(first);
        let second = prepared.message(backend, std::slice::from_ref(&insert), "");
        assert!(second.text.starts_with("PREPARE feebox_2 AS "), "{}", second.text);
        prepared.succeeded(second);
        assert_eq!(prepared.message(backend, &[insert], "").text, format!("EXECUTE feebox_2 ({literal}); "));
    }

    #[test]
    fn mariadb_gets_literals_in_the_places_of_its_parameters() {
        let backend = DbBackend::MySql;
        let update = statement(backend, "UPDATE t SET a = '?', b = ?, c = ?", [r"\'; --".into(), 7.into()]);
        let message = Prepared::default().message(backend, &[update], "COMMIT");
        assert_eq!(message.text, r"UPDATE t SET a = '?', b = '\\''; --', c = 7; COMMIT");
    }

    #[test]
    fn what_ends_a_text_on_the_wire_or_has_no_literal_is_sent_by_itself() {
        let backend = DbBackend::Postgres;
        assert!(!fits(backend, &statement(backend, "SELECT $1", ["a\0b".into()])));
        assert!(!fits(backend, &statement(backend, "SELECT $1", [vec![1_u8].into()])));
        assert!(!fits(DbBackend::Sqlite, &statement(DbBackend::Sqlite, "SELECT 1", [])));
        assert!(fits(backend, &statement(backend, "SELECT 1", [])));
    }
}
