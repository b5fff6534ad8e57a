//! Tables for people, JSON for programs.

use std::{
    env,
    fmt::{Arguments, Display},
    io::{ErrorKind, Write, stdout},
};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::printable::{self, printable};

/// Like `println!`, but a closed pipe is no error.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print::line(format_args!($($text)*)) };
}

/// Prints text, made fit for a terminal. A reader that closes the pipe (`| head`) is no failure: further lines are dropped, and the command ends as
/// usual.
pub(super) fn line(text: Arguments<'_>) {
    let text = text.to_string();
    match writeln!(stdout().lock(), "{}", printable::lines(&text, |_| false)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("failed to write to standard output: {error}"),
        _ => {}
    }
}

/// Most characters of a word that a table does not break: those of an id.
const UNBROKEN_MAX: usize = 36;

/// A time is broken after its date only.
const DATE_WIDTH: u16 = 10;

/// A table with these columns, which fits the terminal: long texts go on in the next line, and ids stay in one piece.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    // A line break in a cell would look like a row of its own.
    let printed = rows.into_iter().map(|row| row.map(|cell| printable(&cell, usize::MAX)));
    let rows: Vec<_> = printed.collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns).add_rows(rows.iter());
    let Some(width) = width() else { return table };
    table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    let is_one_word = |cell: &str| cell.chars().count() <= UNBROKEN_MAX && !cell.contains(' ');
    let is_time = |cell: &str| cell.len() == "2026-11-26 10:00:00Z".len() && cell.ends_with('Z') && cell.contains(' ');
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if is_one_word(columns[index]) && rows.iter().all(|row| is_one_word(&row[index])) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else if rows.iter().any(|row| is_time(&row[index])) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(DATE_WIDTH + 1)));
        }
    }
    table
}

/// How many columns the terminal has; none if the table goes into a file or a pipe.
fn width() -> Option<u16> {
    if let Some(columns) = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()) {
        return Some(columns);
    }
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

/// Prints `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say!("{}", printable::json(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Formats a time to the second. A narrow table breaks it between date and time.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ")
}

/// The value, or a dash.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
