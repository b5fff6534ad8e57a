//! What was measured, as curves: a row of charts for each database. Submissions a second against the number of callers, how long
//! they waited, and how long calls take against the size of the tables.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::Shift,
    drawing::DrawingArea,
    element::{Circle, PathElement},
    prelude::{IntoDrawingArea, SVGBackend},
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, WHITE},
};

use super::{
    question::Question,
    report::{Report, Row},
    sample::Figure,
    tables::Call,
};

const CHART_SIZE: (u32, u32) = (480, 340);
const INK: RGBColor = RGBColor(33, 37, 41);
const LINE: RGBColor = RGBColor(222, 226, 230);
/// Colours that people who see no red or no green tell apart, too.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(134, 142, 150),
];
/// The share of a chart that one name takes, above all points.
const NAME_SHARE: f64 = 0.066;
/// The largest share that names take: where there are more, they lie on the curves.
const NAMES_SHARE_MAX: f64 = 0.6;

/// One picture of the row. Its points stand at equal distances, whatever they stand for.
struct Chart {
    title: String,
    across: &'static str,
    marks: Vec<String>,
    /// By name; each has a value for some of the marks.
    curves: Vec<(String, Vec<(usize, f64)>)>,
}

/// Draws `report` as an SVG document, if there is anything to compare in it.
pub(super) fn draw(report: &Report) -> anyhow::Result<Option<String>> {
    let databases: BTreeSet<_> =
        report.rows.iter().map(|row| row.database).chain(report.calls.iter().map(|call| call.database)).collect();
    let rows: Vec<Vec<Chart>> = databases.into_iter().map(|database| charts(report, database)).collect();
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    if widest == 0 {
        return Ok(None);
    }
    let size = (CHART_SIZE.0 * u32::try_from(widest)?, CHART_SIZE.1 * u32::try_from(rows.len())?);
    let mut svg = String::new();
    let sheet = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    sheet.fill(&WHITE)?;
    let cells = sheet.split_evenly((rows.len(), widest));
    for (charts, cells) in rows.iter().zip(cells.chunks(widest)) {
        for (chart, cell) in charts.iter().zip(cells) {
            chart.paint(cell).context("the picture could not be drawn")?;
        }
    }
    sheet.present()?;
    drop((sheet, cells));
    Ok(Some(svg))
}

/// Those that have more than one mark.
fn charts(report: &Report, database: &'static str) -> Vec<Chart> {
    let submissions: Vec<_> =
        report.rows.iter().filter(|row| row.database == database && row.question == Question::Submissions).collect();
    let calls: Vec<_> = report.calls.iter().filter(|call| call.database == database).collect();
    let all = [rates(&submissions, database), waits(&submissions, database), sizes(&calls, database)];
    all.into_iter().filter(|chart| chart.marks.len() > 1).collect()
}

fn rates(rows: &[&Row], database: &str) -> Chart {
    let marks: BTreeSet<_> = rows.iter().map(|row| row.callers).collect();
    let marks: Vec<_> = marks.into_iter().collect();
    let mut curves: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for row in rows {
        let place = marks.iter().position(|callers| *callers == row.callers);
        if let (Some(place), Some(rate)) = (place, row.figures.get(&Figure::PerSecond)) {
            curves.entry(row.contestant).or_default().push((place, rate.median));
        }
    }
    Chart {
        title: format!("{database}: submissions a second"),
        across: "callers side by side",
        marks: marks.iter().map(usize::to_string).collect(),
        curves: curves.into_iter().map(|(name, points)| (name.to_owned(), points)).collect(),
    }
}

/// With the number of callers that was named first, which is the one that tables tell about.
fn waits(rows: &[&Row], database: &str) -> Chart {
    let callers = rows.first().map_or(0, |row| row.callers);
    let rows: Vec<_> = rows.iter().filter(|row| row.callers == callers && !row.waits.is_empty()).collect();
    let marks = rows.first().map(|row| row.waits.iter().map(|(share, _)| share.to_string()).collect());
    let curve = |row: &&&Row| {
        let points = row.waits.iter().map(|(_, wait_ms)| *wait_ms).enumerate().collect();
        (row.contestant.to_owned(), points)
    };
    Chart {
        title: format!("{database}: so many ms, {callers} callers"),
        across: "percent of the callers waited at most",
        marks: marks.unwrap_or_default(),
        curves: rows.iter().map(curve).collect(),
    }
}

/// The slowest calls by name, the others together.
fn sizes(calls: &[&Call], database: &str) -> Chart {
    let marks: BTreeSet<_> = calls.iter().map(|call| call.rows).collect();
    let marks: Vec<_> = marks.into_iter().collect();
    let mut curves: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
    for call in calls {
        let place = marks.iter().position(|rows| *rows == call.rows).unwrap_or(0);
        curves.entry(&call.call).or_default().push((place, call.p95_ms));
    }
    let most = |points: &[(usize, f64)]| points.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let mut curves: Vec<_> = curves.into_iter().map(|(name, points)| (name.to_owned(), points)).collect();
    curves.sort_by(|one, other| most(&other.1).total_cmp(&most(&one.1)));
    let rest = curves.split_off(curves.len().min(COLOURS.len() - 1));
    if !rest.is_empty() {
        let worst_at =
            |place| rest.iter().flat_map(|(_, points)| points).filter(move |it| it.0 == place).map(|it| it.1);
        let points = (0..marks.len()).map(|place| (place, worst_at(place).fold(0.0, f64::max))).collect();
        curves.push((format!("the slowest of {} others", rest.len()), points));
    }
    Chart {
        title: format!("{database}: ms at the 95th percentile"),
        across: "delivered events in the tables",
        marks: marks.iter().map(|rows| in_thousands(*rows)).collect(),
        curves,
    }
}

impl Chart {
    fn paint(&self, cell: &DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()> {
        let most = self.curves.iter().flat_map(|(_, points)| points).map(|point| point.1).fold(0.0, f64::max);
        let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
        let last = place(self.marks.len() - 1);
        let mut chart = ChartBuilder::on(cell)
            .margin(12)
            .caption(&self.title, text(16))
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(-0.2..last + 0.2, 0.0..most * self.headroom())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .label_style(text(12))
            .axis_desc_style(text(12))
            .x_desc(self.across)
            .x_labels(2 * self.marks.len())
            .x_label_formatter(&|at| self.mark(*at))
            .draw()?;
        for ((name, points), colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<_> = points.iter().map(|(at, value)| (place(*at), *value)).collect();
            let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(text(12))
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    }

    /// How far above its highest point a chart ends: its curves' names have their place there.
    fn headroom(&self) -> f64 {
        let names = super::sample::count_as_f64(self.curves.len() + 1) * NAME_SHARE;
        1.0 / (1.0 - names.min(NAMES_SHARE_MAX))
    }

    /// The mark at this place, if it is one's.
    fn mark(&self, at: f64) -> String {
        let marks = self.marks.iter().enumerate();
        marks.filter(|(index, _)| (place(*index) - at).abs() < 0.01).map(|(_, mark)| mark.clone()).collect()
    }
}

/// 1,000,000
fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

fn place(index: usize) -> f64 {
    super::sample::count_as_f64(index)
}
