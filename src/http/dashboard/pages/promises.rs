//! What Feebox promises, and when each promise was last checked.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    format::{Show, count, duration, number, text, time},
    list::{Table, column, rows, table},
    text::say,
    view::{Calls, Known, View, event_link, quote_link},
};

pub(in super::super) fn calls() -> Calls {
    vec![("audit", "/v1/audit".into()), ("stats", "/v1/stats".into())]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    html! {
        h1 { (view.t("nav.promises")) }
        @if view.known("audit").is_some_and(Known::is_missing) { (without_call(view)) }
        @else if let Some(found) = view.answer("audit") { (promises(view, found)) }
        @else { (view.instead("audit")) }
    }
}

fn promises(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("promises.number"), "number", |it| html! { (number(count(&it["number"]))) }),
        column(view.t("promises.promise"), "wide", |it| html! { (view.t(&format!("promises.text.{}", it["number"]))) }),
        column(view.t("promises.checked"), "", |it| {
            html! { @if it["checked_at"].is_null() { (view.t("promises.unchecked")) } @else { (time(&it["checked_at"], Show::Relative)) } }
        }),
        column(view.t("promises.violations"), "number", |it| {
            let broken = count(&it["violations"]);
            html! { span class=(if broken > 0.0 { "bad" } else { "good" }) { (number(broken)) } }
        }),
    ];
    let broken = [
        column(view.t("promises.number"), "number", |it| html! { (number(count(&it["promise"]))) }),
        column(view.t("field.quote"), "", |it| quote_link(&it["quote_id"])),
        column(view.t("promises.detail"), "wide", |it| {
            html! { (wrong(view, it)) small { (text(&it["check"])) " " (event_link(&it["event_id"])) } }
        }),
        column(view.t("promises.found"), "", |it| time(&it["found_at"], Show::Exact)),
    ];
    let last = &found["last_audit"];
    let level = match last["violations"].as_f64() {
        _ if last.is_null() => "wait",
        Some(broken) if broken > 0.0 => "bad",
        _ => "good",
    };
    let by_number = |it: &Value| it["number"].to_string();
    let by_check = |it: &Value| format!("{} {} {}", it["promise"], text(&it["check"]), text(&it["quote_id"]));
    let violations = rows(found, "violations");
    let more = count(&found["total"]) - f64::from(u32::try_from(violations.len()).unwrap_or(u32::MAX));
    let promises = Table {
        name: "promises",
        rows: rows(found, "promises"),
        key: by_number,
        nothing: view.t("promises.nothing"),
        picks: false,
    };
    let violations = Table {
        name: "violations",
        rows: violations,
        key: by_check,
        nothing: view.t("promises.none_broken"),
        picks: false,
    };
    html! {
        p class={ "headline " (level) } { (sentence(view, found)) }
        @if !found["note"].is_null() { p class="headline wait" { (view.t("promises.nobody")) } }
        @if view.may_operate() {
            div class="bar" { button class="main" data-do="check-now" disabled[found["running"] == true] { (view.t("change.check")) } }
        }
        (table(view, &promises, &columns))
        h2 { (view.t("promises.violations")) }
        (table(view, &violations, &broken))
        @if more > 0.0 { p class="empty" { (say!(view.language(), "promises.more", n = more)) } }
    }
}

/// In the reader's language if this version knows the check, else in the words of the API.
fn wrong(view: &View<'_>, it: &Value) -> String {
    let key = format!("promises.check.{}", text(&it["check"]));
    if view.language().knows(&key) { view.t(&key) } else { text(&it["detail"]).to_owned() }
}

fn sentence(view: &View<'_>, found: &Value) -> Markup {
    let last = &found["last_audit"];
    if found["running"] == true {
        return html! { (view.t("promises.running")) };
    }
    if last.is_null() {
        return html! { (view.t("promises.never")) };
    }
    let took = duration(count(&last["took_ms"]));
    let (n, changed, quotes) = (count(&last["violations"]), &last["changed"], &last["quotes"]);
    let said = say!(view.language(), "promises.last", n = n, changed = changed, quotes = quotes, took = took);
    html! { (said) " " (time(&last["at"], Show::Relative)) }
}

/// A version without the call has its last audit in its statistics.
fn without_call(view: &View<'_>) -> Markup {
    let last = &view.answer_or_null("stats")["last_audit"];
    let said = if last.is_null() {
        view.t("promises.never")
    } else {
        say!(view.language(), "promises.known", n = count(&last["violations"]))
    };
    html! { p class="headline wait" { (said) " " (time(&last["at"], Show::Relative)) " " (view.t("promises.by_hand")) } }
}
