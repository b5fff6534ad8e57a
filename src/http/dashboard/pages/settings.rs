//! The effective settings of the process that answers; secrets are masked by the API.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    format::text,
    list::{Table, column, rows, table},
    text::say,
    view::{Calls, View},
};

/// Which rows can be shown, by the name in the address.
const CHOICES: [&str; 3] = ["all", "set", "differing"];

pub(in super::super) fn calls() -> Calls {
    vec![("settings", "/v1/settings".into())]
}

fn is_shown(choice: &str, it: &Value) -> bool {
    match choice {
        "set" => it["is_default"] == false,
        "differing" => it["differs"].as_array().is_some_and(|differs| !differs.is_empty()),
        _ => true,
    }
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(found) = view.answer("settings") else {
        return html! { h1 { (view.t("nav.settings")) } (view.instead("settings")) };
    };
    let chosen = CHOICES.into_iter().find(|choice| *choice == view.address.filter("show")).unwrap_or("all");
    let all = rows(found, "settings");
    let differing: Vec<&str> = all.iter().filter(|it| is_shown("differing", it)).map(|it| text(&it["key"])).collect();
    let columns = [
        column(view.t("settings.key"), "", |it| html! { code { (text(&it["key"])) } }),
        column(view.t("settings.value"), "wide", |it| html! { code { (text(&it["value"])) } }),
        column(view.t("settings.source"), "", |it| {
            let is_default = it["is_default"] == true && it["source"] == "default";
            html! { @if is_default { (view.t("settings.default")) } @else { (text(&it["source"])) } }
        }),
        column(view.t("settings.differs"), "wide", |it| {
            html! {
                @for it in rows(it, "differs") {
                    div data-key=(text(&it["process"])) class="wait" { (text(&it["process"])) ": " code { (text(&it["value"])) } }
                }
            }
        }),
    ];
    let key = |it: &Value| text(&it["key"]).to_owned();
    let rows = all.iter().copied().filter(|it| is_shown(chosen, it)).collect();
    html! {
        h1 { (view.t("nav.settings")) }
        p { (say!(view.language(), "settings.text", process = &found["process"], version = &found["version"])) }
        @if !differing.is_empty() {
            p class="headline wait" { (say!(view.language(), "workers.differing", names = differing.join(", "))) }
        }
        p class="tabs" role="group" aria-label=(view.t("settings.shown")) {
            @for it in CHOICES {
                a href=(view.address.with(&[("show", it)])) aria-current=[(it == chosen).then_some("true")] { (view.t(&format!("settings.show.{it}"))) }
            }
        }
        (table(view, &Table { name: "settings", rows, key, nothing: view.t("settings.nothing"), picks: false }, &columns))
    }
}
