//! Tables for people, JSON for programs.

use std::{
    fmt::{Arguments, Display},
    io::{ErrorKind, Write, stdout},
};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
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

/// A table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    // A line break in a cell would look like a row of its own.
    let rows = rows.into_iter().map(|row| row.map(|cell| printable(&cell, usize::MAX)));
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns).add_rows(rows);
    table
}

/// Prints `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say!("{}", printable::json(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Formats a time to the second.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The value, or a dash.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
