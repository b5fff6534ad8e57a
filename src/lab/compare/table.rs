//! The measurement as tables, for the terminal and for a page.

use std::iter;

use comfy_table::{
    CellAlignment, Table, TableStyle,
    presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED},
};

use super::{Destination, Report, Row, report::Plan};

/// A column: its title, and its cell in a row.
type Column = (&'static str, fn(&Row) -> String);

const CALM: [Column; 10] = [
    ("response p50", |row| time(row.calm.calm_response_ms.p50)),
    ("p99", |row| time(row.calm.calm_response_ms.p99)),
    ("confirmed after p50", |row| time(row.calm.calm_fee_lag_ms.p50)),
    ("p99", |row| time(row.calm.calm_fee_lag_ms.p99)),
    ("statements a quote", |row| number(Some(row.calm.cost.statements_per_quote), 1)),
    ("rows written a quote", |row| number(row.calm.cost.rows_written_per_quote, 1)),
    ("WAL bytes a quote", |row| number(row.calm.cost.wal_bytes_per_quote, 0)),
    ("statements an idle minute", |row| number(Some(row.calm.cost.idle_statements_per_minute), 0)),
    ("accepted a second", |row| number(Some(row.rush.accepted_per_second), 0)),
    ("confirmed a second", |row| number(Some(row.rush.confirmed_per_second), 0)),
];
const STORM: [Column; 11] = [
    ("accepted", |row| row.accepted.to_string()),
    ("refused", |row| row.refused.to_string()),
    ("unanswered", |row| row.unanswered.to_string()),
    ("response p50", |row| time(row.response_ms.p50)),
    ("p99", |row| time(row.response_ms.p99)),
    ("confirmed after p50", |row| time(row.fee_lag_ms.p50)),
    ("p99", |row| time(row.fee_lag_ms.p99)),
    ("lost", |row| row.lost.to_string()),
    ("ghosts", |row| row.ghosts.to_string()),
    ("duplicates", |row| row.duplicates.to_string()),
    ("cancelled", |row| row.cancelled.to_string()),
];

impl Report {
    /// The tables for the terminal.
    #[must_use]
    pub fn tables(&self) -> String {
        let tables = self.by_destination().map(|(destination, rows)| {
            let name = destination.name();
            let [calm, storm] = [&CALM[..], &STORM].map(|columns| table(UTF8_FULL_CONDENSED, columns, &rows));
            format!("Quotes go to {name}. When nothing goes wrong:\n{calm}\n\nWith rollbacks, crashes and an outage:\n{storm}")
        });
        tables.collect::<Vec<_>>().join("\n\n")
    }

    /// The rows of each measured destination.
    pub(super) fn by_destination(&self) -> impl Iterator<Item = (Destination, Vec<&Row>)> {
        [Destination::FeeServer, Destination::Kafka].into_iter().filter_map(|destination| {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.destination == destination).collect();
            (!rows.is_empty()).then_some((destination, rows))
        })
    }
}

/// The text of `compare.md`.
pub(super) fn page(report: &Report) -> String {
    let Plan { quotes, rate, latency_ms, crashes, rollback_rate, seed, database, .. } = &report.plan;
    let (latency, rolled_back) = (latency_ms / 1_000.0, rollback_rate * 100.0);
    let sections = report.by_destination().map(|(destination, rows)| {
        let table = |columns| to_the_right(&table(ASCII_MARKDOWN, columns, &rows).to_string());
        let [calm, storm] = [&CALM[..], &STORM].map(table);
        let name = destination.name();
        format!("## Quotes go to {name}\n\nWhen nothing goes wrong:\n\n{calm}\n\nIn the storm:\n\n{storm}\n")
    });
    format!(
        "# The designs, side by side

![The designs, side by side](compare.svg)

Measured by `feebox compare` on {database}; a fee takes {latency} s. The storm: {quotes} quotes at {rate} a second; all
processes killed {crashes} times, {rolled_back} % of the submissions rolled back, the destination unavailable for a
fifth of the time; seed {seed}.

{}",
        sections.collect::<Vec<_>>().join("\n")
    )
}

fn table(style: TableStyle, columns: &[Column], rows: &[&Row]) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header(iter::once("design").chain(columns.iter().map(|(title, _)| *title)));
    for row in rows {
        let name = iter::once(row.design.name());
        table.add_row(name.chain(columns.iter().map(|(_, cell)| cell(row))));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Right-aligns all columns but the first of a Markdown table.
fn to_the_right(table: &str) -> String {
    let is_rule = |line: &str| line.chars().all(|c| matches!(c, '|' | '-'));
    let aligned = |line: &str| match line.match_indices('|').nth(1) {
        Some((first, _)) if is_rule(line) => format!("{}{}", &line[..=first], line[first + 1..].replace("-|", ":|")),
        _ => line.to_owned(),
    };
    table.lines().map(aligned).collect::<Vec<_>>().join("\n")
}

/// Milliseconds, or seconds from one second on.
pub(super) fn time(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => "–".to_owned(),
        Some(time) if time < 1_000.0 => format!("{time:.0} ms"),
        Some(time) => format!("{:.1} s", time / 1_000.0),
    }
}

pub(super) fn number(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_right_aligned() {
        let table = "| design | lost |\n|--------|------|\n| outbox | 0    |";
        assert_eq!(to_the_right(table), "| design | lost |\n|--------|-----:|\n| outbox | 0    |");
    }
}
