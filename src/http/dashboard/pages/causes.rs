//! What failed, by cause.

use chrono::TimeDelta;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::{
    address::{Address, address},
    chart::sparkline,
    format::{Show, count, instant, money, number, text, time},
    list::{Filter, FilterKind, Table, column, filters, rows, table},
    view::{Calls, View, link},
};

pub(in super::super) fn calls(at: &Address) -> Calls {
    vec![("causes", at.call("/v1/causes", &["status", "destination"], &[])), ("stats", "/v1/stats".into())]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let names = rows(view.answer_or_null("stats"), "destinations");
    let names = names.iter().map(|it| text(&it["name"])).map(|name| (name.to_owned(), name.to_owned())).collect();
    let statuses = ["pending", "leased", "dead"].map(|it| (it.to_owned(), view.t(&format!("status.{it}")))).to_vec();
    let form = [
        Filter { name: "status", label: view.t("field.status"), kind: FilterKind::Choice(statuses) },
        Filter { name: "destination", label: view.t("field.destination"), kind: FilterKind::Choice(names) },
    ];
    html! {
        h1 { (view.t("nav.causes")) }
        p { (view.t("causes.text")) }
        (filters(view, &form))
        @if let Some(found) = view.answer("causes") {
            (list(view, found, usize::MAX))
            @if found["is_complete"] == false { p class="empty" { (view.t("causes.incomplete")) } }
        } @else { (view.instead("causes")) }
    }
}

/// The first `most` causes of an answer.
pub(super) fn list(view: &View<'_>, found: &Value, most: usize) -> Markup {
    let columns = [
        column(view.t("field.cause"), "wide", |it| {
            let said = it["sample"].as_str().unwrap_or_else(|| text(&it["cause"]));
            html! {
                (view.badge(&it["outcome"], "outcome")) " " (link("/events", of(view, it, view.address.filter("status")), said))
                small { (text(&it["cause"])) }
            }
        }),
        column(view.t("field.events"), "number", |it| html! { (number(count(&it["events"]))) }),
        column(view.t("status.dead"), "number", |it| html! { (number(count(&it["dead"]))) }),
        column(view.t("field.quotes"), "number", |it| html! { (number(count(&it["quotes"]))) }),
        column(view.t("causes.customers"), "number", |it| html! { (number(count(&it["customers"]))) }),
        column(view.t("causes.money"), "number", |it| {
            html! { @for sum in rows(it, "money") { div data-key=(text(&sum["currency"])) { (money(sum)) } } }
        }),
        column(view.t("causes.trend"), "", |it| trend(view, found, it)),
        column(view.t("causes.last"), "", |it| {
            html! {
                (time(&it["last_seen"], Show::Relative))
                small { (view.t("causes.first")) ": " (time(&it["first_seen"], Show::Relative)) }
            }
        }),
        column(view.t("field.actions"), "", |it| changes(view, it)),
    ];
    let key = |it: &Value| text(&it["cause"]).to_owned();
    let rows = rows(found, "causes").into_iter().take(most).collect();
    table(view, &Table { name: "causes", rows, key, nothing: view.t("causes.nothing"), picks: false }, &columns)
}

/// The filters of the events that a row is about.
fn of<'a>(view: &'a View<'_>, cause: &'a Value, status: &'a str) -> [(&'a str, &'a str); 3] {
    [("cause", text(&cause["cause"])), ("status", status), ("destination", view.address.filter("destination"))]
}

fn trend(view: &View<'_>, found: &Value, it: &Value) -> Markup {
    let (Some(values), Some(from)) = (it["trend"].as_array(), instant(&found["trend_from"])) else { return html! {} };
    let values: Vec<f64> = values.iter().map(count).collect();
    let step = TimeDelta::seconds(found["trend_step_seconds"].as_i64().unwrap_or(600));
    sparkline(view.language(), &view.t("causes.failed"), from, step, &values)
}

fn changes(view: &View<'_>, it: &Value) -> Markup {
    let (events, dead) = (count(&it["events"]), count(&it["dead"]));
    let status =
        if view.address.filter("status").is_empty() && dead >= events { "dead" } else { view.address.filter("status") };
    // With which statuses an operator can change its events.
    let statuses = [("dead", dead), ("pending", events - dead)].into_iter().filter(|(_, events)| *events > 0.0);
    let statuses: Vec<&str> = statuses.map(|(status, _)| status).collect();
    let which = json!({ "cause": it["cause"], "destination": view.address.filter("destination") });
    html! {
        div class="buttons" {
            a href=(address("/events", of(view, it, status))) { (view.t("causes.show")) }
            @if view.may_operate() && !statuses.is_empty() {
                button data-do="retry-many" data-which=(which) data-statuses=(statuses.join(" ")) { (view.t("causes.retry")) }
                button class="danger" data-do="cancel-many" data-which=(which) data-statuses=(statuses.join(" ")) { (view.t("causes.cancel")) }
            }
        }
    }
}
