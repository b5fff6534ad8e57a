//! What operators did.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    address::Address,
    format::{Show, text, time},
    list::{Table, by_id, column, pager, rows, table},
    view::{Calls, View, quote_link},
};

pub(in super::super) fn calls(at: &Address) -> Calls {
    vec![("actions", at.call("/v1/actions", &["quote_id", "cursor"], &[("limit", "50")]))]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let found = view.answer("actions");
    html! {
        h1 { (view.t("nav.actions")) }
        @if let Some(found) = found { (list(view, found)) (pager(view, &found["next"])) } @else { (view.instead("actions")) }
    }
}

fn list(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("field.at"), "", |it| time(&it["created_at"], Show::Exact)),
        column(view.t("actions.actor"), "", |it| html! { (text(&it["actor"])) }),
        column(view.t("actions.action"), "", |it| html! { code { (text(&it["action"])) } }),
        column(view.t("actions.target"), "wide", |it| {
            let details = it["details"].as_object().filter(|details| !details.is_empty());
            html! { span class="id" { (text(&it["target"])) } @if details.is_some() { small { (it["details"]) } } }
        }),
        column(view.t("field.quote"), "", |it| quote_link(&it["quote_id"])),
        column(view.t("ask.reason"), "wide", |it| html! { (text(&it["reason"])) }),
    ];
    let nothing = view.t("actions.nothing");
    table(view, &Table { name: "actions", rows: rows(found, "actions"), key: by_id, nothing, picks: false }, &columns)
}
