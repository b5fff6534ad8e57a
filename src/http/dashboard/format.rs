//! Times, durations, amounts and numbers as people read them. Both languages group digits by commas.
//!
//! Times are written in UTC; the scripts show them in the reader's zone, and say how long ago they were.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};
use serde_json::Value;

use super::text::{Language, say};

/// How a time is shown.
#[derive(Clone, Copy)]
pub(super) enum Show {
    /// How long ago, and exactly when one points at it.
    Relative,
    /// Exactly, and how long ago when one points at it.
    Exact,
}

/// The text, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The number; 0 if there is none.
pub(super) fn count(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// `1,234.5`: at most three digits behind the point.
pub(super) fn number(value: f64) -> String {
    let text = format!("{:.3}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let sign = if value < 0.0 && (whole != "0" || !part.is_empty()) { "-" } else { "" };
    let point = if part.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{part}", grouped(whole))
}

fn grouped(digits: &str) -> String {
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).filter_map(|group| str::from_utf8(group).ok());
    let groups: Vec<&str> = [head].into_iter().filter(|it| !it.is_empty()).chain(groups).collect();
    groups.join(",")
}

/// A count that the API stops at `max`.
pub(super) fn counted(language: Language, value: &Value, max: f64) -> String {
    if count(value) >= max { say!(language, "count.more", n = count(value)) } else { number(count(value)) }
}

/// `EUR 1,234.50`. The API says how many digits the minor unit has (ISO 4217).
pub(super) fn money(it: &Value) -> String {
    let Some(amount) = it["amount_minor"].as_i64() else { return String::new() };
    let digits = it["minor_unit_digits"].as_u64().and_then(|digits| usize::try_from(digits).ok()).unwrap_or(2);
    let minor = format!("{:0width$}", amount.unsigned_abs(), width = digits + 1);
    let (whole, part) = minor.split_at(minor.len() - digits);
    let (sign, point) = (if amount < 0 { "-" } else { "" }, if digits == 0 { "" } else { "." });
    format!("{sign}{}\u{a0}{}{point}{part}", text(&it["currency"]), grouped(whole))
}

/// `350 ms`, `9.5 s`, `3 min`.
pub(super) fn duration(ms: f64) -> String {
    if ms < 1000.0 {
        return format!("{} ms", number(ms.round()));
    }
    let seconds = ms / 1000.0;
    let units = [("d", 86_400.0), ("h", 3600.0), ("min", 60.0)];
    let (unit, length) = units.into_iter().find(|(_, length)| seconds >= 2.0 * length).unwrap_or(("s", 1.0));
    let value = seconds / length;
    let value = if value < 10.0 { (value * 10.0).round() / 10.0 } else { value.round() };
    format!("{} {unit}", number(value))
}

/// The beginning and the end of an id.
pub(super) fn short_id(id: &str) -> String {
    match (id.get(..8), id.len().checked_sub(6).and_then(|at| id.get(at..))) {
        (Some(first), Some(last)) if id.len() > 14 => format!("{first}…{last}"),
        _ => id.to_owned(),
    }
}

/// A time of the API; none if it is none.
pub(super) fn instant(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

/// As the API writes times.
pub(super) fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time of the API; nothing if there is none.
pub(super) fn time(at: &Value, show: Show) -> Markup {
    html! { @if let Some(at) = at.as_str() { (time_of(at, show)) } }
}

fn time_of(at: &str, show: Show) -> Markup {
    let exact =
        at.parse::<DateTime<Utc>>().map_or_else(|_| at.to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    let kind = match show {
        Show::Relative => "relative",
        Show::Exact => "exact",
    };
    html! { time datetime=(at) data-at=(at) data-show=(kind) { (exact) } }
}

/// A text, in which times are shown in the reader's zone.
pub(super) fn zoned(text: &str) -> Markup {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((begin, end)) = time_in(rest) {
        parts.push((&rest[..begin], Some(&rest[begin..end])));
        rest = &rest[end..];
    }
    parts.push((rest, None));
    html! { @for (before, at) in parts { (before) @if let Some(at) = at { (time_of(at, Show::Exact)) } } }
}

/// Where the first time of the API lies in a text, such as `2026-11-26T10:00:00.123Z`.
fn time_in(text: &str) -> Option<(usize, usize)> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    bytes.windows(SHAPE.len()).enumerate().find_map(|(begin, found)| {
        let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
        if !found.iter().zip(SHAPE).all(fits) {
            return None;
        }
        let after = &bytes[begin + SHAPE.len()..];
        let fraction = match after.first() {
            Some(b'.') => 1 + after[1..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
            _ => 0,
        };
        (after.get(fraction) == Some(&b'Z')).then_some((begin, begin + SHAPE.len() + fraction + 1))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_durations_and_ids_are_short_and_plain() {
        let shown = [0.0, 7.0, -7.5, 1234.0, 1_234_567.891_2, 0.000_1, -0.000_1].map(number);
        assert_eq!(shown, ["0", "7", "-7.5", "1,234", "1,234,567.891", "0", "0"]);
        let shown = [0.4, 999.0, 1_040.0, 119_000.0, 121_000.0, 90_000_000.0, 260_000_000.0].map(duration);
        assert_eq!(shown, ["0 ms", "999 ms", "1 s", "119 s", "2 min", "25 h", "3 d"]);
        assert_eq!(short_id("01a21d83-f498-71a0-aff3-68066ccafa7b"), "01a21d83…cafa7b");
        assert_eq!(["short", "éééééééééé", "aéééééééééé"].map(short_id), ["short", "éééé…ééé", "aéééééééééé"]);
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        let of = |amount: i64, currency: &str, digits: i32| {
            money(&json!({ "amount_minor": amount, "currency": currency, "minor_unit_digits": digits }))
        };
        assert_eq!(of(123_450, "HUF", 2), "HUF\u{a0}1,234.50");
        assert_eq!(of(123_450, "IQD", 3), "IQD\u{a0}123.450");
        assert_eq!([of(123_450, "JPY", 0), of(-5, "EUR", 2)], ["JPY\u{a0}123,450", "-EUR\u{a0}0.05"]);
        assert_eq!(money(&Value::Null), "");
    }

    #[test]
    fn times_within_a_text_are_times_and_the_rest_is_text() {
        let html =
            zoned("<b> at 2026-11-26T10:00:00.123Z, 2026-11-26T10:00:00 and é2026-11-26T10:00:00Z").into_string();
        assert!(html.starts_with("&lt;b&gt; at <time datetime=\"2026-11-26T10:00:00.123Z\""), "{html}");
        assert!(html.contains(">2026-11-26 10:00:00 UTC</time>, 2026-11-26T10:00:00 and é<time"), "{html}");
    }
}
