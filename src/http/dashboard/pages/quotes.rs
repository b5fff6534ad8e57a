//! Quotes by status, customer, id and time.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{
    address::Address,
    format::{Show, money, text, time},
    list::{Filter, FilterKind, Table, by_id, column, filters, pager, rows, table},
    view::{Calls, View, quote_link},
};

const STATUSES: [&str; 4] = ["pending", "confirmed", "rejected", "cancelled"];
/// The filters of the API.
const NAMES: [&str; 5] = ["status", "customer_id", "id_prefix", "submitted_after", "submitted_before"];

pub(in super::super) fn calls(at: &Address) -> Calls {
    let names: Vec<&str> = NAMES.into_iter().chain(["cursor"]).collect();
    vec![("quotes", at.call("/v1/quotes", &names, &[("limit", "50")]))]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let form = NAMES.map(|name| {
        let kind = match name {
            "status" => {
                FilterKind::Choice(STATUSES.map(|it| (it.to_owned(), view.t(&format!("quote_status.{it}")))).to_vec())
            }
            "submitted_after" | "submitted_before" => FilterKind::Time,
            _ => FilterKind::Text,
        };
        Filter { name, label: view.t(&format!("field.{name}")), kind }
    });
    html! {
        h1 { (view.t("nav.quotes")) }
        (filters(view, &form))
        @if let Some(found) = view.answer("quotes") { (list(view, found)) (pager(view, &found["next"])) } @else { (view.instead("quotes")) }
    }
}

fn list(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("field.quote"), "", |it| quote_link(&it["id"])),
        column(view.t("field.status"), "", |it| view.badge(&it["status"], "quote_status")),
        column(view.t("field.customer_id"), "", |it| html! { (text(&it["customer_id"])) }),
        column(view.t("field.amount"), "number", |it| html! { (money(it)) }),
        column(view.t("field.fee"), "number", |it| html! { (money(&it["fee"])) }),
        column(view.t("field.partner"), "", |it| html! { (text(&it["submitted_by"])) }),
        column(view.t("field.submitted"), "", |it| time(&it["submitted_at"], Show::Relative)),
        column(view.t("field.error"), "wide", |it| {
            let error = it["delivery"]["last_error"].as_str().unwrap_or_else(|| text(&it["status_reason"]));
            html! { (error) }
        }),
    ];
    let nothing = view.t("quotes.nothing");
    table(view, &Table { name: "quotes", rows: rows(found, "quotes"), key: by_id, nothing, picks: false }, &columns)
}
