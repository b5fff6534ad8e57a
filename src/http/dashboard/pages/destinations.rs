//! Where events go: what holds each destination back, and what an operator can do about it.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    chart::strip,
    format::{Show, count, counted, duration, instant, number, text, time},
    list::{Table, column, rows, table},
    text::say,
    view::{Calls, View, at, facts, link, of_text},
};

pub(in super::super) fn calls() -> Calls {
    vec![("stats", "/v1/stats".into()), ("openings", "/v1/circuit-openings?limit=200".into())]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(stats) = view.answer("stats") else {
        return html! { h1 { (view.t("nav.destinations")) } (view.instead("stats")) };
    };
    let destinations = rows(stats, "destinations");
    html! {
        h1 { (view.t("nav.destinations")) }
        @if destinations.is_empty() { p class="empty" { (view.t("destinations.nothing")) } }
        @else { div class="cards" { @for it in destinations { (card(view, stats, it)) } } }
        section id="openings" {
            h2 { (view.t("destinations.openings")) }
            @if let Some(found) = view.answer("openings") { (openings(view, found)) } @else { (view.instead("openings")) }
        }
    }
}

/// How long a circuit was open, in milliseconds.
fn lasted(found: &Value, it: &Value) -> f64 {
    let end = instant(&it["closed_at"]).or_else(|| instant(&found["to"]));
    let lasted = end.zip(instant(&it["opened_at"])).map_or(0, |(end, begin)| (end - begin).num_milliseconds());
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    return lasted as f64;
}

/// When circuits were open, as a list.
fn openings(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("field.destination"), "", |it| html! { (text(&it["destination"])) }),
        column(view.t("destinations.opened"), "", |it| time(&it["opened_at"], Show::Exact)),
        column(view.t("destinations.closed"), "", |it| {
            html! { @if it["closed_at"].is_null() { (view.t("destinations.still_open")) } @else { (at(&it["closed_at"])) } }
        }),
        column(view.t("destinations.lasted"), "number", |it| html! { (duration(lasted(found, it))) }),
        column(view.t("ask.reason"), "wide", |it| html! { (text(&it["reason"])) }),
    ];
    let key = |it: &Value| format!("{} {}", text(&it["destination"]), text(&it["opened_at"]));
    let nothing = view.t("destinations.never_open");
    html! {
        (table(view, &Table { name: "openings", rows: rows(found, "openings"), key, nothing, picks: false }, &columns))
        @if found["is_complete"] == false { p class="empty" { (view.t("destinations.openings_more")) } }
    }
}

/// The same of one destination, drawn in time.
fn drawn(view: &View<'_>, name: &Value) -> Markup {
    let found = view.answer_or_null("openings");
    let (Some(from), Some(to)) = (instant(&found["from"]), instant(&found["to"])) else { return html! {} };
    let own = rows(found, "openings").into_iter().filter(|it| it["destination"] == *name);
    let spans = own.filter_map(|it| Some((instant(&it["opened_at"])?, instant(&it["closed_at"]).unwrap_or(to))));
    let spans: Vec<_> = spans.collect();
    let n = f64::from(u32::try_from(spans.len()).unwrap_or(u32::MAX));
    let title =
        say!(view.language(), "destinations.strip", name = name, n = n, from = &found["from"], to = &found["to"]);
    strip(&title, from, to, &spans)
}

/// What holds it back: how bad that is, what it is, and since or until when.
fn states<'a>(view: &View<'_>, stats: &Value, it: &'a Value) -> Vec<(&'static str, String, Option<&'a Value>)> {
    let (language, [paused, circuit, held]) =
        (view.language(), ["paused", "circuit", "not_before"].map(|name| &it[name]));
    let mut found = Vec::new();
    if !paused.is_null() {
        let text = say!(language, "destinations.paused", by = &paused["by"], reason = &paused["reason"]);
        found.push(("wait", text, Some(&paused["since"])));
    }
    if !circuit.is_null() {
        found.push((
            "bad",
            say!(language, "destinations.circuit", reason = &circuit["reason"]),
            Some(&circuit["since"]),
        ));
    }
    if instant(held).is_some_and(|until| until > view.now) {
        found.push(("wait", view.t("destinations.held"), Some(held)));
    }
    if count(&stats["workers_alive"]) == 0.0 {
        found.push(("bad", view.t("destinations.no_worker"), None));
    }
    if found.is_empty() { vec![("good", view.t("destinations.delivering"), None)] } else { found }
}

fn card(view: &View<'_>, stats: &Value, it: &Value) -> Markup {
    let (name, max) = (text(&it["name"]), count(&stats["unsettled_counted_max"]));
    let counted = |status: &str| {
        link(
            "/events",
            [("status", status), ("destination", name)],
            &counted(view.language(), &it["events"][status], max),
        )
    };
    let limit = |which: &str| {
        let limit = it["limits"].get(which);
        html! { @if let Some(limit) = limit { @if limit.is_null() { (view.t("limits.none")) } @else { (number(count(limit))) } } }
    };
    let waiting = count(&it["events"]["pending"]);
    html! {
        section data-key=(name) class="card" data-destination=(name) {
            h2 { (name) }
            ul class="states" {
                @for (level, text, at) in states(view, stats, it) {
                    li class=(level) { (text) " " @if let Some(at) = at { (time(at, Show::Relative)) } }
                }
            }
            (facts(&[
                (view.t("status.pending"), counted("pending")),
                (view.t("status.leased"), counted("leased")),
                (view.t("status.dead"), counted("dead")),
                (view.t("overview.rate"), of_text(&number(count(&it["delivered_last_minute"])))),
                (view.t("overview.oldest"), of_text(&duration(count(&it["oldest_due_seconds"]) * 1000.0))),
                (view.t("destinations.failures"), of_text(&number(count(&it["consecutive_failures"])))),
                (view.t("destinations.probe"), at(&it["circuit"]["next_probe_at"])),
                (view.t("limits.per_second"), limit("per_second")),
                (view.t("limits.in_flight"), limit("in_flight")),
            ]))
            (drawn(view, &it["name"]))
            // A topic's circuit is its own; pause and limits are those of the whole destination.
            @if view.may_operate() && !name.contains('/') {
                div class="buttons" {
                    @if it["paused"].is_null() {
                        button class="danger" data-do="pause" data-name=(name) data-waiting=(waiting) { (view.t("change.pause.verb")) }
                    } @else {
                        button class="main" data-do="resume" data-name=(name) data-waiting=(waiting) { (view.t("change.resume.verb")) }
                    }
                    @if it.get("limits").is_some() {
                        button data-do="set-limits" data-name=(name) data-limits=(it["limits"]) { (view.t("change.limits.verb")) }
                    }
                }
            }
        }
    }
}
