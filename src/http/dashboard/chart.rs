//! Charts by hand: lines over time, with a table behind each.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{
    format::{Show, iso, number, time},
    text::{Language, say},
};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 22.0;
/// Room for what is written behind a bar.
const LABEL: f64 = 120.0;
/// The height of a bar and its room.
const ROW: f64 = 22.0;

/// A line: its name in the style, its label, and a value for each time, if it is known.
pub(super) struct Series {
    pub name: &'static str,
    pub label: String,
    pub values: Vec<Option<f64>>,
}

/// A bar in time.
pub(super) struct Bar {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub kind: String,
    pub label: String,
}

fn milliseconds(at: DateTime<Utc>) -> f64 {
    let ms = at.timestamp_millis();
    #[allow(clippy::cast_precision_loss, reason = "times are far below 2^53 ms")]
    return ms as f64;
}

#[allow(clippy::cast_precision_loss, reason = "charts have few points")]
fn real(count: usize) -> f64 {
    count as f64
}

/// A time at an axis, short.
fn tick(at: DateTime<Utc>, x: f64, y: f64, anchor: &str) -> Markup {
    html! {
        text class="tick" x=(rounded(x)) y=(rounded(y)) text-anchor=(anchor) data-at=(iso(at)) data-show="short" {
            (at.format("%m-%d %H:%M"))
        }
    }
}

fn rounded(value: f64) -> String {
    format!("{value:.1}")
}

/// Lines over `times`.
pub(super) fn lines(
    language: Language,
    title: &str,
    times: &[DateTime<Utc>],
    series: &[Series],
    show: impl Fn(f64) -> String,
) -> Markup {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return html! {} };
    let max = series.iter().flat_map(|it| it.values.iter().flatten()).fold(1_f64, |max, value| max.max(*value));
    let steps = real(times.len().saturating_sub(1).max(1));
    let x = |index: usize| LEFT + real(index) * (WIDTH - LEFT - 8.0) / steps;
    let y = |value: f64| 8.0 + (HEIGHT - BOTTOM - 8.0) * (1.0 - value / max);
    let label = say!(language, "chart.label", title = title, from = iso(*first), to = iso(*last), max = show(max));
    let (middle, end) = ((times.len() - 1) / 2, times.len() - 1);
    html! {
        figure class="chart" {
            figcaption {
                strong { (title) }
                @for it in series { span class={ "legend " (it.name) } { (it.label) } }
            }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
                @for value in [0.0, max / 2.0, max] {
                    line class="grid" x1=(LEFT) x2=(WIDTH - 8.0) y1=(rounded(y(value))) y2=(rounded(y(value))) {}
                    text class="tick" x=(LEFT - 6.0) y=(rounded(y(value) + 4.0)) text-anchor="end" { (show(value)) }
                }
                @for (index, anchor) in [(0, "start"), (middle, "middle"), (end, "end")] {
                    (tick(times[index], x(index), HEIGHT - 6.0, anchor))
                }
                @for it in series { path class={ "line " (it.name) } d=(path(&it.values, &x, &y)) {} }
            }
            details {
                summary { (say!(language, "chart.table")) }
                div class="scroll" tabindex="0" {
                    table {
                        caption class="hidden" { (title) }
                        thead { tr {
                            th scope="col" { (say!(language, "chart.time")) }
                            @for it in series { th scope="col" class="number" { (it.label) } }
                        } }
                        tbody {
                            @for (index, at) in times.iter().enumerate() {
                                tr data-key=(iso(*at)) {
                                    th scope="row" { (time(&iso(*at).into(), Show::Exact)) }
                                    @for it in series { td class="number" { (it.values[index].map_or_else(|| "–".to_owned(), &show)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A line that is broken where nothing is known.
fn path(values: &[Option<f64>], x: &impl Fn(usize) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut command = 'M';
    let mut path = String::new();
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else {
            command = 'M';
            continue;
        };
        path.extend([format!("{command}{:.1} {:.1}", x(index), y(*value))]);
        // A single point is a dot.
        if command == 'M' && values.get(index + 1).is_none_or(Option::is_none) {
            path += "h1";
        }
        command = 'L';
    }
    path
}

/// A line of the size of a word, over steps of `step` since `from`; behind it a table of those that are not 0.
pub(super) fn sparkline(
    language: Language,
    label: &str,
    from: DateTime<Utc>,
    step: TimeDelta,
    values: &[f64],
) -> Markup {
    let (width, height) = (120.0, 24.0);
    let max = values.iter().fold(1_f64, |max, value| max.max(*value));
    let total: f64 = values.iter().sum();
    let x = |index: usize| 1.0 + real(index) * (width - 2.0) / real(values.len().saturating_sub(1).max(1));
    let y = |value: f64| 2.0 + (height - 4.0) * (1.0 - value / max);
    let times = (0..).map(|index| from + step * index);
    let steps: Vec<_> = times.zip(values).filter(|(_, value)| **value != 0.0).collect();
    let known: Vec<_> = values.iter().copied().map(Some).collect();
    html! {
        svg class="spark" viewBox={ "0 0 " (width) " " (height) } role="img"
            aria-label=(say!(language, "chart.spark", n = total, from = iso(from), max = number(max))) {
            path class="line refused" d=(path(&known, &x, &y)) {}
        }
        @if !steps.is_empty() {
            details {
                summary { (say!(language, "chart.table")) }
                div class="scroll" tabindex="0" {
                    table aria-label=(label) {
                        thead { tr { th scope="col" { (say!(language, "chart.time")) } th scope="col" class="number" { (label) } } }
                        tbody {
                            @for (at, value) in steps {
                                tr data-key=(iso(at)) {
                                    th scope="row" { (time(&iso(at).into(), Show::Exact)) }
                                    td class="number" { (number(*value)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// When something was so, within a time.
pub(super) fn strip(
    title: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    spans: &[(DateTime<Utc>, DateTime<Utc>)],
) -> Markup {
    let [first, last] = [from, to].map(milliseconds);
    let x = |at| (milliseconds(at).clamp(first, last.max(first)) - first) * WIDTH / (last - first).max(1.0);
    html! {
        svg class="strip" viewBox={ "0 0 " (WIDTH) " 34" } role="img" aria-label=(title) {
            rect class="ground" x="0" y="0" width=(WIDTH) height="14" rx="3" {}
            // One that was short is seen all the same.
            @for (begin, end) in spans {
                rect class="open" x=(rounded(x(*begin).min(WIDTH - 3.0))) y="0" height="14" width=(rounded((x(*end) - x(*begin)).max(3.0))) {}
            }
            (tick(from, 0.0, 30.0, "start"))
            (tick(to, WIDTH, 30.0, "end"))
        }
    }
}

/// Bars in time.
pub(super) fn waterfall(title: &str, bars: &[Bar]) -> Markup {
    let (Some(first), Some(last)) = (bars.iter().map(|it| it.from).min(), bars.iter().map(|it| it.to).max()) else {
        return html! {};
    };
    let last = last.max(first + TimeDelta::milliseconds(1));
    let scale = (WIDTH - 8.0 - LABEL) / (milliseconds(last) - milliseconds(first));
    let x = |at| 4.0 + (milliseconds(at) - milliseconds(first)) * scale;
    let height = real(bars.len()) * ROW;
    html! {
        svg class="waterfall" viewBox={ "0 0 " (WIDTH) " " (height + 20.0) } role="img" aria-label=(title) {
            @for (index, it) in bars.iter().enumerate() {
                @let (left, top) = (x(it.from), real(index) * ROW);
                @let width = (x(it.to) - left).max(4.0);
                g class={ "bar " (it.kind) } {
                    rect x=(rounded(left)) y=(top + 4.0) width=(rounded(width)) height=(ROW - 8.0) rx="3" {}
                    text x=(rounded(left + width + 6.0)) y=(top + ROW / 2.0 + 4.0) { (it.label) }
                }
            }
            (tick(first, 4.0, height + 16.0, "start"))
            (tick(last, WIDTH - 4.0 - LABEL, height + 16.0, "end"))
        }
    }
}

/// A point for each entry, where it lies in time: its time, how long it took in milliseconds, its kind, and what it was.
pub(super) fn points(title: &str, entries: &[(DateTime<Utc>, f64, &str, String)]) -> Markup {
    let (Some((first, ..)), Some((last, ..))) = (entries.first(), entries.last()) else { return html! {} };
    let last = (*last).max(*first + TimeDelta::milliseconds(1));
    let scale = (WIDTH - 20.0) / (milliseconds(last) - milliseconds(*first));
    let x = |ms: f64| 10.0 + (ms - milliseconds(*first)) * scale;
    html! {
        svg class="drawn" viewBox={ "0 0 " (WIDTH) " 44" } role="img" aria-label=(title) {
            line class="grid" x1="10" x2=(WIDTH - 10.0) y1="16" y2="16" {}
            @for (at, took, kind, what) in entries {
                @let right = x(milliseconds(*at));
                @if *took > 0.0 {
                    line class={ "took " (kind) } x1=(rounded(x(milliseconds(*at) - took).max(10.0))) x2=(rounded(right)) y1="16" y2="16" {}
                }
                circle class=(kind) cx=(rounded(right)) cy="16" r="5" { title { (what) } }
            }
            (tick(*first, 10.0, 40.0, "start"))
            (tick(last, WIDTH - 10.0, 40.0, "end"))
        }
    }
}
