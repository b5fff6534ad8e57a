//! The processes of the fleet.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    format::{Show, count, text, time},
    list::{Table, by_id, column, rows, table},
    text::say,
    view::{Calls, View},
};

pub(in super::super) fn calls() -> Calls {
    vec![("workers", "/v1/workers".into())]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(found) = view.answer("workers") else {
        return html! { h1 { (view.t("nav.workers")) } (view.instead("workers")) };
    };
    let alive = count(&found["workers_alive"]);
    let (level, said) = if alive > 0.0 { ("good", "workers.text") } else { ("bad", "workers.none") };
    let differing: Vec<&str> = found["differing_settings"].as_array().into_iter().flatten().map(text).collect();
    html! {
        h1 { (view.t("nav.workers")) }
        p class={ "headline " (level) } { (say!(view.language(), said, n = alive)) }
        @if !differing.is_empty() {
            p class="headline wait" { (say!(view.language(), "workers.differing", names = differing.join(", "))) }
        }
        (list(view, found))
    }
}

fn list(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("workers.name"), "", |it| html! { span class="id" { (text(&it["name"])) } }),
        column(view.t("workers.state"), "", |it| {
            let (class, said) =
                if it["alive"] == true { ("delivered", "workers.alive") } else { ("dead", "workers.gone") };
            html! { span class={ "badge " (class) } { (view.t(said)) } }
        }),
        column(view.t("workers.role"), "", |it| html! { (text(&it["role"])) }),
        column(view.t("workers.version"), "", |it| html! { (text(&it["version"])) }),
        column(view.t("workers.load"), "number", |it| {
            let of = |limit| say!(view.language(), "workers.of", flight = count(&it["in_flight"]), limit = limit);
            html! { @if let Some(limit) = it["limit"].as_f64().filter(|limit| *limit > 0.0) { (of(limit)) } }
        }),
        column(view.t("workers.seen"), "", |it| time(&it["seen_at"], Show::Relative)),
        column(view.t("workers.tick"), "", |it| time(&it["last_tick_at"], Show::Relative)),
        column(view.t("workers.started"), "", |it| time(&it["started_at"], Show::Exact)),
        column(view.t("workers.differs"), "wide", differing),
    ];
    let nothing = view.t("workers.nothing");
    table(view, &Table { name: "workers", rows: rows(found, "processes"), key: by_id, nothing, picks: false }, &columns)
}

/// The settings in which a process differs from the others.
fn differing(it: &Value) -> Markup {
    html! {
        @for (name, value) in it["differs"].as_object().into_iter().flatten() {
            @let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            div data-key=(name) class="wait" { code { (name) " = " (value) } }
        }
    }
}
