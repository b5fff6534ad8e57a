//! The measurement as tables, for the terminal and for a page.

use comfy_table::{
    CellAlignment, Table, TableStyle,
    presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED},
};

use super::{Destination, Report, Row, report::Plan};

const CALM: [&str; 11] = [
    "design",
    "response p50",
    "p99",
    "confirmed after p50",
    "p99",
    "statements a quote",
    "rows written a quote",
    "WAL bytes a quote",
    "statements an idle minute",
    "accepted a second",
    "confirmed a second",
];
const STORM: [&str; 12] = [
    "design",
    "accepted",
    "refused",
    "unanswered",
    "response p50",
    "p99",
    "confirmed after p50",
    "p99",
    "lost",
    "ghosts",
    "duplicates",
    "cancelled",
];

impl Report {
    /// The tables for the terminal.
    #[must_use]
    pub fn tables(&self) -> String {
        let tables = self.by_destination().map(|(destination, rows)| {
            let (name, calm, storm) =
                (destination.name(), calm(&rows, UTF8_FULL_CONDENSED), storm(&rows, UTF8_FULL_CONDENSED));
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
        let [calm, storm] = [calm, storm].map(|table| to_the_right(&table(&rows, ASCII_MARKDOWN).to_string()));
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

fn calm(rows: &[&Row], style: TableStyle) -> Table {
    table(style, &CALM, rows, |row| {
        let calm = &row.calm;
        vec![
            time(calm.calm_response_ms.p50),
            time(calm.calm_response_ms.p99),
            time(calm.calm_fee_lag_ms.p50),
            time(calm.calm_fee_lag_ms.p99),
            number(Some(calm.statements_per_quote), 1),
            number(calm.rows_written_per_quote, 1),
            number(calm.wal_bytes_per_quote, 0),
            number(Some(calm.idle_statements_per_minute), 0),
            number(Some(row.rush.accepted_per_second), 0),
            number(Some(row.rush.confirmed_per_second), 0),
        ]
    })
}

fn storm(rows: &[&Row], style: TableStyle) -> Table {
    table(style, &STORM, rows, |row| {
        vec![
            row.accepted.to_string(),
            row.refused.to_string(),
            row.unanswered.to_string(),
            time(row.response_ms.p50),
            time(row.response_ms.p99),
            time(row.fee_lag_ms.p50),
            time(row.fee_lag_ms.p99),
            row.lost.to_string(),
            row.ghosts.to_string(),
            row.duplicates.to_string(),
            row.cancelled.to_string(),
        ]
    })
}

fn table(style: TableStyle, header: &[&str], rows: &[&Row], cells: fn(&Row) -> Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header(header.iter().copied());
    for row in rows {
        let name = std::iter::once(row.design.name().to_owned());
        table.add_row(name.chain(cells(row)));
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
