//! Events by all filters of the API; some or all that match are retried or cancelled.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::{
    address::Address,
    explain::why,
    format::{Show, count, money, number, text, time, zoned},
    list::{Filter, FilterKind, Table, by_id, column, filters, pager, rows, table},
    text::say,
    view::{Calls, View, event_link, quote_link},
};

const STATUSES: [&str; 5] = ["pending", "leased", "delivered", "dead", "cancelled"];
const TYPES: [&str; 4] = ["quote.submitted", "quote.cancelled", "quote.rejected", "fee.created"];
/// The filters of the API.
const NAMES: [&str; 11] = [
    "status",
    "destination",
    "event_type",
    "customer_id",
    "cause",
    "error_contains",
    "quote_id",
    "created_after",
    "created_before",
    "settled_after",
    "settled_before",
];

pub(in super::super) fn calls(at: &Address) -> Calls {
    let names: Vec<&str> = NAMES.into_iter().chain(["cursor"]).collect();
    vec![("events", at.call("/v1/outbox", &names, &[("limit", "50")]))]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let form = NAMES.map(|name| {
        let kind = match name {
            "status" => {
                FilterKind::Choice(STATUSES.map(|it| (it.to_owned(), view.t(&format!("status.{it}")))).to_vec())
            }
            "event_type" => FilterKind::Choice(TYPES.map(|it| (it.to_owned(), it.to_owned())).to_vec()),
            name if name.ends_with("_after") || name.ends_with("_before") => FilterKind::Time,
            _ => FilterKind::Text,
        };
        Filter { name, label: view.t(&format!("field.{name}")), kind }
    });
    html! {
        h1 { (view.t("nav.events")) }
        (filters(view, &form))
        @if let Some(found) = view.answer("events") { (list(view, found)) } @else { (view.instead("events")) }
    }
}

fn list(view: &View<'_>, found: &Value) -> Markup {
    let columns = [
        column(view.t("field.event"), "", |it| event_link(&it["id"])),
        column(view.t("field.status"), "", |it| view.badge(&it["status"], "status")),
        column(view.t("field.why"), "wide", |it| zoned(&why(view.language(), text(&it["why"])))),
        column(view.t("field.event_type"), "", |it| html! { (text(&it["event_type"])) }),
        column(view.t("field.quote"), "", |it| quote_link(&it["quote_id"])),
        column(view.t("field.customer_id"), "", |it| html! { (text(&it["customer_id"])) }),
        column(view.t("field.amount"), "number", |it| html! { (money(&it["money"])) }),
        column(view.t("field.attempts"), "number", |it| html! { (number(count(&it["attempts"]))) }),
        column(view.t("field.created"), "", |it| time(&it["created_at"], Show::Relative)),
    ];
    let total = if found["total_is_complete"] == true { "events.total" } else { "events.total_more" };
    let nothing = view.t("events.nothing");
    let table_of =
        Table { name: "events", rows: rows(found, "events"), key: by_id, nothing, picks: view.may_operate() };
    let unreadable = found["unreadable"].as_array().map_or(0, Vec::len);
    html! {
        p class="total" role="status" { (say!(view.language(), total, n = count(&found["total"]))) " " span data-added {} }
        @if view.may_operate() { (changes(view, found)) }
        (table(view, &table_of, &columns))
        @if unreadable > 0 {
            p class="empty bad" { (say!(view.language(), "events.unreadable", n = f64::from(u32::try_from(unreadable).unwrap_or(u32::MAX)))) }
        }
        (pager(view, &found["next"]))
    }
}

/// Some that are selected, or all that match, by the status that the filter names. What is selected the script knows.
fn changes(view: &View<'_>, found: &Value) -> Markup {
    let status = view.address.filter("status");
    let set = NAMES.iter().map(|name| (*name, view.address.filter(name))).filter(|(_, value)| !value.is_empty());
    let which = Value::from(set.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>());
    let may_retry = ["dead", "pending"].contains(&status);
    let may_cancel = may_retry || status == "leased";
    let more = if found["total_is_complete"] == true { "" } else { "+" };
    let total = format!("{}{more}", number(count(&found["total"])));
    html! {
        div class="bar" role="group" aria-label=(view.t("events.actions")) {
            span class="buttons" data-selected hidden {
                span data-selected-count {}
                button data-do="retry-selected" { (view.t("events.retry_selected")) }
                button class="danger" data-do="cancel-selected" { (view.t("events.cancel_selected")) }
                button class="quiet" data-do="select-none" { (view.t("events.select_none")) }
            }
            @if count(&found["total"]) > 0.0 {
                span class="buttons" data-unselected {
                    @if may_retry { button data-do="retry-many" data-which=(which) { (say!(view.language(), "events.retry_all", total = &*total)) } }
                    @if may_cancel {
                        button class="danger" data-do="cancel-many" data-which=(which) { (say!(view.language(), "events.cancel_all", total = &*total)) }
                    } @else { span class="empty" { (view.t("events.choose_status")) } }
                }
            }
        }
    }
}
