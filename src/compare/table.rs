//! The measurement as a table: for the terminal, and for a page.

use std::fmt::Write;

use comfy_table::{
    Table, TableStyle,
    presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED},
};

use super::{Report, Row};

const HEADER: [&str; 14] = [
    "design",
    "response p50",
    "p99",
    "fee lag p50",
    "p99",
    "accepted",
    "lost",
    "ghosts",
    "duplicates",
    "cancelled",
    "statements / quote",
    "rows / quote",
    "WAL / quote",
    "idle statements / min",
];

impl Report {
    /// For the terminal.
    #[must_use]
    pub fn table(&self) -> String {
        table(self, UTF8_FULL_CONDENSED)
    }
}

/// `compare.md`.
pub(super) fn page(report: &Report) -> String {
    let plan = &report.plan;
    let mut page = String::from("# The designs, side by side\n\n");
    let _ = writeln!(
        page,
        "{} quotes at {} a second, {} s for a fee, on {}. All processes killed {} times, {} % of the submissions rolled \
         back, the fee server away for a fifth of the time; seed {}. Measured by `feebox compare`.\n",
        plan.quotes,
        plan.rate,
        plan.latency_ms / 1_000.0,
        plan.database,
        plan.crashes,
        plan.rollback_rate * 100.0,
        plan.seed,
    );
    page + &table(report, ASCII_MARKDOWN) + "\n\n![The designs, side by side](compare.svg)\n"
}

fn table(report: &Report, style: TableStyle) -> String {
    let mut table = Table::new();
    table.load_style(style).set_header(HEADER);
    for row in &report.rows {
        table.add_row(cells(row));
    }
    table.to_string()
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.design.name().to_owned(),
        time(row.response_ms.p50),
        time(row.response_ms.p99),
        time(row.fee_lag_ms.p50),
        time(row.fee_lag_ms.p99),
        row.accepted.to_string(),
        row.lost.to_string(),
        row.ghosts.to_string(),
        row.duplicates.to_string(),
        row.cancelled.to_string(),
        number(row.statements_per_quote, 1),
        number(row.rows_written_per_quote, 1),
        number(row.wal_bytes_per_quote, 0),
        number(Some(row.idle_statements_per_minute), 0),
    ]
}

/// Milliseconds, or seconds where those are more than anybody wants to read.
pub(super) fn time(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => "–".to_owned(),
        Some(time) if time < 1_000.0 => format!("{time:.0} ms"),
        Some(time) => format!("{:.1} s", time / 1_000.0),
    }
}

/// A number, if there is one.
pub(super) fn number(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.decimals$}"))
}
