//! What was measured: medians, spreads and ratios.

use std::{collections::BTreeMap, fmt};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{
    question::Question,
    sample::{Figure, SHARES, Sample},
    tables::Call,
};
use crate::lab::fleet;

/// All rows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One a question, database and contestant.
    pub rows: Vec<Row>,
    /// One a call of the lists and statistics.
    pub calls: Vec<Call>,
    /// One a scenario of the simulated fleet.
    pub fleet: Vec<fleet::Row>,
}

/// What one contestant came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was asked.
    pub question: Question,
    /// `PostgreSQL`, `MariaDB` or `SQLite`.
    pub database: &'static str,
    /// How many callers there were side by side, if that matters.
    pub callers: usize,
    /// Who.
    pub contestant: &'static str,
    /// The figures.
    pub figures: BTreeMap<Figure, Spread>,
    /// How long this share of the callers waited at most: percent and milliseconds, the medians of all rounds. Empty where nobody waited.
    pub waits: Vec<(f64, f64)>,
    /// Each figure's median, divided by that of each other contestant that has it.
    pub ratios: BTreeMap<&'static str, BTreeMap<Figure, f64>>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// Database, question, callers, place and name of the contestant.
type Key = (&'static str, Question, usize, usize, &'static str);

impl Report {
    pub(super) fn of(samples: &BTreeMap<Key, Vec<Sample>>) -> Self {
        let mut rows: Vec<Row> = samples
            .iter()
            .map(|((database, question, callers, _, contestant), samples)| Row {
                question: *question,
                database,
                callers: *callers,
                contestant,
                figures: spreads(samples),
                waits: waits(samples),
                ratios: BTreeMap::new(),
            })
            .collect();
        let measures = rows.clone();
        for row in &mut rows {
            let others = measures.iter().filter(|other| {
                (other.question, other.database, other.callers) == (row.question, row.database, row.callers)
                    && other.contestant != row.contestant
            });
            row.ratios = others.map(|other| (other.contestant, row.beside(other))).collect();
        }
        Self { rows, calls: Vec::new(), fleet: Vec::new() }
    }
}

impl Row {
    fn beside(&self, other: &Self) -> BTreeMap<Figure, f64> {
        let both = self.figures.iter().filter_map(|(figure, own)| {
            let other = other.figures.get(figure)?.median;
            (other != 0.0).then_some((*figure, own.median / other))
        });
        both.collect()
    }
}

fn spreads(samples: &[Sample]) -> BTreeMap<Figure, Spread> {
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in samples.iter().flat_map(|sample| &sample.figures) {
        values.entry(*figure).or_default().push(*value);
    }
    values.into_iter().map(|(figure, values)| (figure, Spread::of(values))).collect()
}

fn waits(samples: &[Sample]) -> Vec<(f64, f64)> {
    let of_share = |(index, share): (usize, &f64)| {
        let waits: Vec<_> = samples.iter().filter_map(|sample| sample.waits_ms.get(index).copied()).collect();
        (!waits.is_empty()).then(|| (*share, Spread::of(waits).median))
    };
    SHARES.iter().enumerate().filter_map(of_share).collect()
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
        let middle = |place: usize| values.get(place).copied().unwrap_or(0.0);
        let median = f64::midpoint(middle(values.len().saturating_sub(1) / 2), middle(values.len() / 2));
        Self { median, min, max }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median.abs() {
            it if it >= 100.0 => 0,
            it if it >= 10.0 => 1,
            it if it >= 1.0 => 2,
            _ => 3,
        };
        let Self { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// As Markdown, which terminals show as well.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.fleet {
            writeln!(f, "{row}\n")?;
        }
        if !self.calls.is_empty() {
            writeln!(f, "{}", calls(&self.calls))?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(["database", "question", "contestant", "figure", "median (min to max)", "ratios"]);
        for row in &self.rows {
            let question = match row.question {
                Question::Submissions => format!("{:?}, {} callers", row.question, row.callers),
                _ => format!("{:?}", row.question),
            };
            for (figure, spread) in &row.figures {
                let ratios = row
                    .ratios
                    .iter()
                    .filter_map(|(other, ratios)| ratios.get(figure).map(|ratio| format!("{ratio:.2} of {other}")));
                let ratios = ratios.collect::<Vec<_>>().join(", ");
                let cells = [row.database, &question, row.contestant, figure.title(), &spread.to_string(), &ratios];
                table.add_row(cells.map(str::to_owned));
            }
        }
        if let Some(column) = table.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

fn calls(calls: &[Call]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["database", "delivered", "call", "p50 ms", "p95 ms", "p99 ms", "max ms"]);
    for Call { database, rows, call, p50_ms, p95_ms, p99_ms, max_ms } in calls {
        let figures = [p50_ms, p95_ms, p99_ms, max_ms].map(|figure| format!("{figure:.1}"));
        table.add_row([(*database).to_owned(), rows.to_string(), call.clone()].into_iter().chain(figures));
    }
    for column in [1, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
