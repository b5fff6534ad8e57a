//! How Feebox is, what to do next, and how it has been.

use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    super::{
        address::{Address, address},
        chart::{Series, lines},
        explain::headline,
        format::{Show, count, counted, duration, instant, number, text, time},
        list::rows,
        text::say,
        view::{Calls, View, link, quote_link},
    },
    causes,
};

/// By name: how many minutes, and how many of them are a step of the API.
const RANGES: [(&str, i64, i64); 4] = [("1h", 60, 1), ("6h", 360, 1), ("48h", 2_880, 60), ("90d", 129_600, 60)];
/// More would be a blur.
const POINTS_MAX: usize = 120;
/// The causes that are shown.
const CAUSES: usize = 5;
/// Stale quotes are counted so far.
const STALE_MAX: f64 = 10_000.0;

pub(in super::super) fn calls(at: &Address, now: DateTime<Utc>) -> Calls {
    let (_, minutes, step) = range(at);
    // Whole steps, so that pages that are opened within one ask the same.
    let length = TimeDelta::minutes(step);
    let to = now.duration_trunc(length).unwrap_or(now) + length;
    let [from, to] = [to - TimeDelta::minutes(minutes), to].map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let step = if step == 1 { "1m" } else { "1h" };
    let series = address("/v1/stats/series", [("from", &*from), ("to", &*to), ("step", step)]);
    vec![("stats", "/v1/stats".into()), ("causes", "/v1/causes".into()), ("series", series)]
}

fn range(at: &Address) -> (&'static str, i64, i64) {
    let chosen = at.filter("range");
    RANGES.into_iter().find(|(name, ..)| *name == chosen).unwrap_or(RANGES[0])
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(stats) = view.answer("stats") else {
        return html! { h1 { (view.t("nav.overview")) } (view.instead("stats")) };
    };
    let said = headline(view.language(), stats);
    let found = view.answer_or_null("causes");
    let causes = found["causes"].as_array().map_or(0, Vec::len);
    html! {
        h1 class="hidden" { (view.t("nav.overview")) }
        p id="headline" class={ "headline " (said.level) } { (said.sentence) }
        (next(view, stats))
        (numbers(view, stats))
        (charts(view))
        section id="causes" {
            h2 { (view.t("overview.causes")) }
            @if view.answer("causes").is_some() { (causes::list(view, found, CAUSES)) } @else { (view.instead("causes")) }
            @if causes > CAUSES {
                p { (link("/causes", [], &say!(view.language(), "overview.all_causes", n = f64::from(u32::try_from(causes).unwrap_or(u32::MAX))))) }
            }
        }
        (stale(view, stats))
    }
}

fn next(view: &View<'_>, stats: &Value) -> Markup {
    let (language, destinations) = (view.language(), rows(stats, "destinations"));
    let has_workers = count(&stats["workers_alive"]) > 0.0;
    let mut steps = Vec::new();
    if !has_workers {
        let waiting: f64 = ["pending", "leased"].map(|name| sum(stats, name)).iter().sum();
        steps.push(link("/workers", [], &say!(language, "next.no_worker", n = waiting)));
    }
    for it in destinations {
        let (name, paused, circuit, dead) = (&it["name"], &it["paused"], &it["circuit"], count(&it["events"]["dead"]));
        if !paused.is_null() {
            steps.push(link("/destinations", [], &say!(language, "next.paused", name = name, by = &paused["by"])));
        }
        if !circuit.is_null() {
            steps.push(link(
                "/destinations",
                [],
                &say!(language, "next.circuit", name = name, reason = &circuit["reason"]),
            ));
        }
        if dead > 0.0 {
            let query = [("status", "dead"), ("destination", text(name))];
            steps.push(link("/causes", query, &say!(language, "next.dead", n = dead, name = name)));
        }
        let oldest = count(&it["oldest_due_seconds"]);
        if oldest >= 60.0 && paused.is_null() && circuit.is_null() && has_workers {
            let said = say!(language, "next.late", name = name, oldest = duration(oldest * 1000.0));
            steps.push(link("/workers", [], &said));
        }
    }
    let stale = count(&stats["stale_quotes"]["count"]);
    if stale > 0.0 {
        steps.push(html! { a href=(stale_address(stats)) { (say!(language, "next.stale", n = stale)) } });
    }
    let audit = &stats["last_audit"];
    let is_old = instant(&audit["at"]).is_none_or(|at| view.now - at > TimeDelta::days(2));
    if count(&audit["violations"]) > 0.0 {
        steps.push(link("/promises", [], &say!(language, "next.violations", n = count(&audit["violations"]))));
    } else if is_old {
        steps.push(link("/promises", [], &view.t("next.audit")));
    }
    html! {
        section id="next" {
            h2 { (view.t("overview.next")) }
            @if steps.is_empty() { p class="empty" { (view.t("next.nothing")) } }
            @else { ol class="steps" { @for it in steps { li { (it) } } } }
        }
    }
}

/// The events of all destinations.
fn sum(found: &Value, status: &str) -> f64 {
    rows(found, "destinations").iter().map(|it| count(&it["events"][status])).sum()
}

/// Whole minutes, so that the address stays the same for one.
fn stale_address(stats: &Value) -> String {
    let now = instant(&stats["at"]).and_then(|at| at.duration_trunc(TimeDelta::minutes(1)).ok()).unwrap_or_default();
    let before = now - TimeDelta::seconds(stats["stale_quotes"]["after_seconds"].as_i64().unwrap_or_default());
    let before = before.to_rfc3339_opts(SecondsFormat::Millis, true);
    address("/quotes", [("status", "pending"), ("submitted_before", &*before)])
}

fn numbers(view: &View<'_>, stats: &Value) -> Markup {
    let language = view.language();
    let max = count(&stats["unsettled_counted_max"]);
    let of = |status: &str| html! { (counted(language, &sum(stats, status).into(), max)) };
    let events = |status: &str| address("/events", [("status", status)]);
    let destinations = rows(stats, "destinations");
    let oldest = destinations.iter().map(|it| count(&it["oldest_due_seconds"])).fold(0.0, f64::max);
    let rate: f64 = destinations.iter().map(|it| count(&it["delivered_last_minute"])).sum();
    let (stale, workers, audit) =
        (&stats["stale_quotes"]["count"], count(&stats["workers_alive"]), &stats["last_audit"]);
    let broken = audit["violations"].as_f64();
    let audited = match broken {
        None => view.t("overview.audit_unknown"),
        Some(0.0) => view.t("overview.audit"),
        Some(n) => say!(language, "overview.violations", n = n),
    };
    let last = if audit.is_null() {
        html! { (view.t("overview.never")) }
    } else {
        time(&audit["at"], Show::Relative)
    };
    let tiles = [
        (events("pending"), of("pending"), view.t("overview.waiting"), false),
        (events("leased"), of("leased"), view.t("overview.in_flight"), false),
        (events("dead"), of("dead"), view.t("overview.dead"), sum(stats, "dead") > 0.0),
        (
            stale_address(stats),
            html! { (counted(language, stale, STALE_MAX)) },
            view.t("overview.stale"),
            count(stale) > 0.0,
        ),
        ("/destinations".into(), html! { (number(rate)) }, view.t("overview.rate"), false),
        (events("pending"), html! { (duration(oldest * 1000.0)) }, view.t("overview.oldest"), oldest >= 60.0),
        ("/workers".into(), html! { (number(workers)) }, view.t("overview.workers"), workers == 0.0),
        ("/promises".into(), last, audited, broken.is_some_and(|broken| broken > 0.0)),
    ];
    html! {
        ul class="tiles" aria-label=(view.t("overview.numbers")) {
            @for (href, value, label, is_bad) in tiles {
                li data-key=(label) { a href=(href) class=[is_bad.then_some("bad")] { strong { (value) } span { (label) } } }
            }
        }
    }
}

fn charts(view: &View<'_>) -> Markup {
    let (chosen, ..) = range(view.address);
    html! {
        section id="charts" {
            h2 { (view.t("overview.charts")) }
            p class="tabs" role="group" aria-label=(view.t("overview.range")) {
                @for (name, ..) in RANGES {
                    a href=(view.address.with(&[("range", name)])) aria-current=[(name == chosen).then_some("true")] { (view.t(&format!("range.{name}"))) }
                }
            }
            (drawn(view))
        }
    }
}

fn drawn(view: &View<'_>) -> Markup {
    let empty = |key: &str| html! { p class="empty" { (view.t(key)) } };
    if view.known("series").is_some_and(super::super::view::Known::is_missing) {
        return empty("overview.no_series");
    }
    let Some(series) = view.answer("series") else { return view.instead("series") };
    let points = thinned(&rows(series, "points"));
    let times: Vec<_> = points.iter().map(|it| it.at).collect();
    if times.is_empty() {
        return empty("overview.no_points");
    }
    let line = |name, label: String, value: &dyn Fn(&Point) -> Option<f64>| Series {
        name,
        label,
        values: points.iter().map(value).collect(),
    };
    let submitted = [
        line("submitted", view.t("chart.submitted"), &|it| Some(it.submitted)),
        line("delivered", view.t("chart.delivered"), &|it| Some(it.delivered)),
    ];
    let failures = [
        line("retry", view.t("outcome.retry"), &|it| Some(it.retry)),
        line("unknown", view.t("outcome.unknown"), &|it| Some(it.unknown)),
        line("refused", view.t("outcome.refused"), &|it| Some(it.refused)),
        line("dead", view.t("status.dead"), &|it| Some(it.died)),
    ];
    let lag = [line("p50", "p50".into(), &|it| it.p50), line("p99", "p99".into(), &|it| it.p99)];
    let waiting = [line("waiting", view.t("overview.waiting"), &|it| it.waiting)];
    let language = view.language();
    html! {
        div class="charts" {
            (lines(language, &view.t("chart.deliveries"), &times, &submitted, number))
            (lines(language, &view.t("chart.failures"), &times, &failures, number))
            (lines(language, &view.t("chart.lag"), &times, &lag, duration))
            (lines(language, &view.t("chart.waiting"), &times, &waiting, number))
        }
    }
}

/// One or several points of the API.
struct Point {
    at: DateTime<Utc>,
    submitted: f64,
    delivered: f64,
    died: f64,
    retry: f64,
    refused: f64,
    unknown: f64,
    p50: Option<f64>,
    p99: Option<f64>,
    waiting: Option<f64>,
}

/// Several points as one: counts are added, of the backlog and the slowest it is the most.
fn thinned(points: &[&Value]) -> Vec<Point> {
    let size = points.len().div_ceil(POINTS_MAX).max(1);
    points.chunks(size).filter_map(point).collect()
}

fn point(chunk: &[&Value]) -> Option<Point> {
    let sum = |of: &dyn Fn(&Value) -> &Value| chunk.iter().map(|it| count(of(it))).sum::<f64>();
    let known = |of: &dyn Fn(&Value) -> &Value| chunk.iter().filter_map(|it| of(it).as_f64()).collect::<Vec<_>>();
    let most = |values: Vec<f64>| values.into_iter().reduce(f64::max);
    let p50 = known(&|it| &it["fee_lag_ms"]["p50"]);
    let fees = f64::from(u32::try_from(p50.len()).unwrap_or(u32::MAX));
    Some(Point {
        at: instant(&chunk.first()?["at"])?,
        submitted: sum(&|it| &it["submitted"]),
        delivered: sum(&|it| &it["delivered"]),
        died: sum(&|it| &it["died"]),
        retry: sum(&|it| &it["failed"]["retry"]),
        refused: sum(&|it| &it["failed"]["refused"]),
        unknown: sum(&|it| &it["failed"]["unknown"]),
        p50: (!p50.is_empty()).then(|| p50.iter().sum::<f64>() / fees),
        p99: most(known(&|it| &it["fee_lag_ms"]["p99"])),
        waiting: most(known(&|it| &it["waiting"])),
    })
}

fn stale(view: &View<'_>, stats: &Value) -> Markup {
    let found = &stats["stale_quotes"];
    let (n, oldest) = (count(&found["count"]), rows(found, "oldest"));
    if n == 0.0 {
        return html! {};
    }
    let age = duration(count(&found["after_seconds"]) * 1000.0);
    let has_more = n > f64::from(u32::try_from(oldest.len()).unwrap_or(u32::MAX));
    html! {
        section id="stale" {
            h2 { (view.t("overview.stale")) }
            p { (say!(view.language(), "overview.stale.text", age = age)) }
            ul class="plain" {
                @for it in oldest {
                    li data-key=(text(&it["quote_id"])) { (quote_link(&it["quote_id"])) " " (time(&it["submitted_at"], Show::Relative)) }
                }
            }
            @if has_more { p { a href=(stale_address(stats)) { (say!(view.language(), "overview.all_stale", n = n)) } } }
        }
    }
}
