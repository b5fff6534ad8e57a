//! The measurement as a picture: a row for each design and destination, a column of bars for each figure. Bad figures
//! are red.

use anyhow::Context;
use plotters::{
    coord::Shift,
    drawing::DrawingArea,
    element::Rectangle,
    prelude::{IntoDrawingArea, SVGBackend},
    style::{
        Color, IntoFont, RGBColor, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{Report, Row, table};

const NAMES_WIDTH: i32 = 220;
const COLUMN_WIDTH: i32 = 152;
const BAR_WIDTH: i32 = 78;
const BAR_HEIGHT: i32 = 18;
const HEAD_HEIGHT: i32 = 112;
const ROW_HEIGHT: i32 = 42;
/// Height of the line above the rows of a destination.
const GROUP_HEIGHT: i32 = 40;
const FOOT_HEIGHT: i32 = 24;
const MARGIN: i32 = 24;

const INK: RGBColor = RGBColor(33, 37, 41);
const PALE: RGBColor = RGBColor(134, 142, 150);
const LINE: RGBColor = RGBColor(222, 226, 230);
const BLUE: RGBColor = RGBColor(66, 99, 165);
const GREEN: RGBColor = RGBColor(43, 138, 62);
const AMBER: RGBColor = RGBColor(224, 145, 38);
const RED: RGBColor = RGBColor(201, 42, 42);

type Sheet<'a> = DrawingArea<SVGBackend<'a>, Shift>;

struct Column {
    title: &'static str,
    unit: &'static str,
    colour: RGBColor,
    /// Whether the promise is zero; a zero is then shown as a promise kept.
    promises_zero: bool,
    value: Value,
    label: Label,
}

type Value = fn(&Row) -> Option<f64>;
type Label = fn(Option<f64>) -> String;

const COLUMNS: [Column; 8] = [
    measured("response", "median", BLUE, |row| row.calm.calm_response_ms.p50, table::time),
    measured("confirmed after", "median", BLUE, |row| row.calm.calm_fee_lag_ms.p50, table::time),
    measured("accepted", "in the storm", BLUE, |row| exact(row.accepted), whole),
    promised_zero("lost", "accepted, forgotten", RED, |row| exact(row.lost)),
    promised_zero("invented", "ghosts and doubles", RED, |row| {
        exact(row.ghosts + usize::try_from(row.duplicates).unwrap_or(usize::MAX))
    }),
    promised_zero("cancelled", "accepted, taken back", AMBER, |row| exact(row.cancelled)),
    measured("throughput", "confirmed a second", BLUE, |row| Some(row.rush.confirmed_per_second), whole),
    measured(
        "statements",
        "a quote",
        PALE,
        |row| Some(row.calm.cost.statements_per_quote),
        |count| table::number(count, 1),
    ),
];

const fn measured(title: &'static str, unit: &'static str, colour: RGBColor, value: Value, label: Label) -> Column {
    Column { title, unit, colour, promises_zero: false, value, label }
}

const fn promised_zero(title: &'static str, unit: &'static str, colour: RGBColor, value: Value) -> Column {
    Column { title, unit, colour, promises_zero: true, value, label: whole }
}

fn whole(count: Option<f64>) -> String {
    table::number(count, 0)
}

/// Draws `report` as an SVG document.
pub(super) fn draw(report: &Report) -> anyhow::Result<String> {
    let mut svg = String::new();
    let columns = i32::try_from(COLUMNS.len())?;
    let width = NAMES_WIDTH + columns * COLUMN_WIDTH + MARGIN;
    let groups = i32::try_from(report.by_destination().count())?;
    let rows = i32::try_from(report.rows.len())?;
    let height = HEAD_HEIGHT + groups * GROUP_HEIGHT + rows * ROW_HEIGHT + FOOT_HEIGHT;
    let size = (u32::try_from(width)?, u32::try_from(height)?);
    let sheet = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    paint(&sheet, report, width).context("the picture could not be drawn")?;
    drop(sheet);
    Ok(svg)
}

fn paint(sheet: &Sheet<'_>, report: &Report, width: i32) -> anyhow::Result<()> {
    sheet.fill(&WHITE)?;
    let plan = &report.plan;
    let title = format!("{} quotes, {:.1} s for a fee, {} crashes", plan.quotes, plan.latency_ms / 1e3, plan.crashes);
    text(sheet, &title, (MARGIN, 28), 19, INK)?;
    for (index, column) in (0..).zip(&COLUMNS) {
        let left = NAMES_WIDTH + index * COLUMN_WIDTH;
        text(sheet, column.title, (left, 68), 15, INK)?;
        text(sheet, column.unit, (left, 88), 12, PALE)?;
    }
    let mut top = HEAD_HEIGHT;
    for (destination, rows) in report.by_destination() {
        let title = format!("quotes go to {}", destination.name());
        text(sheet, &title, (MARGIN, top + GROUP_HEIGHT / 2 - 8), 15, PALE)?;
        top += GROUP_HEIGHT;
        for row in &rows {
            rectangle(sheet, (MARGIN, top - 8), (width - MARGIN, top - 7), LINE)?;
            let middle = top + (ROW_HEIGHT - 16) / 2;
            text(sheet, &row.design.name(), (MARGIN, middle), 14, INK)?;
            for (index, column) in (0..).zip(&COLUMNS) {
                let most = rows.iter().copied().filter_map(column.value).fold(0.0, f64::max);
                bar(sheet, column, row, most, (NAMES_WIDTH + index * COLUMN_WIDTH, middle))?;
            }
            top += ROW_HEIGHT;
        }
    }
    Ok(sheet.present()?)
}

/// Draws a bar, scaled to the column's maximum `most`, and its value next to it.
fn bar(sheet: &Sheet<'_>, column: &Column, row: &Row, most: f64, (left, middle): (i32, i32)) -> anyhow::Result<()> {
    let value = (column.value)(row);
    let share = value.filter(|_| most > 0.0).map_or(0.0, |value| value / most);
    let length = (0..=BAR_WIDTH).rev().find(|length| f64::from(*length) <= share * f64::from(BAR_WIDTH)).unwrap_or(0);
    let kept = column.promises_zero && value == Some(0.0);
    let length = if value.is_some_and(|value| value > 0.0) { length.max(2) } else { 0 };
    if length > 0 {
        let (top, bottom) = (middle - BAR_HEIGHT / 2, middle + BAR_HEIGHT / 2);
        rectangle(sheet, (left, top), (left + length, bottom), column.colour)?;
    }
    let colour = match (kept, column.promises_zero) {
        (true, _) => GREEN,
        (false, true) => column.colour,
        (false, false) => INK,
    };
    let gap = if length > 0 { 6 } else { 0 };
    text(sheet, &(column.label)(value), (left + length + gap, middle), 14, colour)
}

fn rectangle(sheet: &Sheet<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> anyhow::Result<()> {
    Ok(sheet.draw(&Rectangle::new([from, to], colour.filled()))?)
}

/// Draws text to the right of `at`, vertically centred.
fn text(sheet: &Sheet<'_>, text: &str, at: (i32, i32), size: u32, colour: RGBColor) -> anyhow::Result<()> {
    let font = ("sans-serif", size).into_font();
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(HPos::Left, VPos::Center));
    Ok(sheet.draw_text(text, &style, at)?)
}

fn exact(count: usize) -> Option<f64> {
    u32::try_from(count).ok().map(f64::from)
}
