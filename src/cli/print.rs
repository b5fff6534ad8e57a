//! Tables for people, JSON for programs.

use std::{
    fmt::{Arguments, Display},
    io::{ErrorKind, Write, stdout},
};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

/// As `println!`, for readers that may stop reading.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print::line(format_args!($($text)*)) };
}

/// Prints a line, if anybody reads on. One who has seen enough (`| head`) is no failure: what is left to be said is not, and
/// the command ends as it would.
pub(super) fn line(text: Arguments<'_>) {
    match writeln!(stdout().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("cannot print: {error}"),
        _ => {}
    }
}

/// A table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns).add_rows(rows);
    table
}

/// Prints `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// To the second.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A dash for nothing.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
