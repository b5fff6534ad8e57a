//! Tables whose rows are walked by keys, and the filters above them.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde_json::Value;

use super::{format::text, view::View};

/// A column: its label, how it is set (`number`, `wide` or nothing), and what stands in a row.
pub(super) struct Column<'a> {
    label: String,
    kind: &'static str,
    cell: Box<dyn Fn(&Value) -> Markup + 'a>,
}

/// A table's name, rows, and what to say if there is none.
pub(super) struct Table<'a, K> {
    pub name: &'static str,
    pub rows: Vec<&'a Value>,
    /// Names a row.
    pub key: K,
    pub nothing: String,
    /// Whether rows can be selected.
    pub picks: bool,
}

/// A filter of a list.
pub(super) struct Filter {
    pub name: &'static str,
    pub label: String,
    pub kind: FilterKind,
}

pub(super) enum FilterKind {
    Text,
    /// A time; the form shows the browser's zone, the address keeps UTC.
    Time,
    /// One of some, each with its label.
    Choice(Vec<(String, String)>),
}

pub(super) fn column<'a>(label: String, kind: &'static str, cell: impl Fn(&Value) -> Markup + 'a) -> Column<'a> {
    Column { label, kind, cell: Box::new(cell) }
}

/// The rows of an answer.
pub(super) fn rows<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    answer[name].as_array().map_or_else(Vec::new, |rows| rows.iter().collect())
}

/// The id of a row.
pub(super) fn by_id(row: &Value) -> String {
    text(&row["id"]).to_owned()
}

pub(super) fn table<K: Fn(&Value) -> String>(view: &View<'_>, table: &Table<'_, K>, columns: &[Column<'_>]) -> Markup {
    let Table { name, rows, key, nothing, picks } = table;
    let class = |kind: &'static str| (!kind.is_empty()).then_some(kind);
    html! {
        div class="scroll" tabindex="0" {
            table data-list=(name) aria-label=(view.t(&format!("list.{name}"))) class="list" {
                thead { tr {
                    @if *picks { th scope="col" class="pick" { input type="checkbox" data-pick-all aria-label=(view.t("list.select_page")); } }
                    @for it in columns { th scope="col" class=[class(it.kind)] { (it.label) } }
                } }
                tbody {
                    @for row in rows {
                        @let key = key(row);
                        tr data-key=(key) data-row=(key) tabindex="-1" {
                            @if *picks { td class="pick" { input type="checkbox" data-pick=(key) aria-label=(view.t("list.select_row")); } }
                            @for it in columns { td class=[class(it.kind)] data-label=(it.label) { ((it.cell)(row)) } }
                        }
                    }
                    @if rows.is_empty() {
                        tr data-key="nothing" { td colspan=(columns.len() + usize::from(*picks)) class="empty" { (nothing) } }
                    }
                }
            }
        }
    }
}

/// The links to the first and to the next page; back is the browser's own.
pub(super) fn pager(view: &View<'_>, next: &Value) -> Markup {
    html! {
        nav class="pager" aria-label=(view.t("list.pages")) {
            @if !view.address.filter("cursor").is_empty() { a href=(view.address.with(&[("cursor", "")])) { (view.t("list.first")) } }
            @if let Some(next) = next.as_str() { a href=(view.address.with(&[("cursor", next)])) rel="next" { (view.t("list.next")) } }
        }
    }
}

/// A form of filters that live in the address: the back button undoes them, and a link keeps them.
pub(super) fn filters(view: &View<'_>, filters: &[Filter]) -> Markup {
    let is_set = filters.iter().any(|it| !view.address.filter(it.name).is_empty());
    let cleared: Vec<_> = filters.iter().map(|it| (it.name, "")).chain([("cursor", "")]).collect();
    html! {
        // On a phone they would fill the screen: a script closes them there.
        details class="narrow" data-set=(is_set) open {
            summary { (view.t("filter.name")) }
            form class="filters" role="search" aria-label=(view.t("filter.name")) action=(view.address.path) {
                @for it in filters { label { (it.label) (control(view, it)) } }
                p class="buttons" {
                    button type="submit" class="main" { (view.t("filter.apply")) }
                    @if is_set { a href=(view.address.with(&cleared)) { (view.t("filter.clear")) } }
                }
            }
        }
    }
}

/// A time as a form writes it, in UTC.
fn in_form(time: &str) -> String {
    let utc = time.parse::<DateTime<Utc>>().map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string());
    utc.unwrap_or_else(|_| time.to_owned())
}

fn control(view: &View<'_>, filter: &Filter) -> Markup {
    let Filter { name, kind, .. } = filter;
    let value = view.address.filter(name);
    match kind {
        FilterKind::Choice(options) => html! {
            select name=(name) {
                option value="" { (view.t("filter.any")) }
                @for (option, label) in options { option value=(option) selected[option == value] { (label) } }
            }
        },
        FilterKind::Text => html! { input name=(name) type="text" value=(value) autocomplete="off"; },
        FilterKind::Time => html! {
            input name=(name) type="datetime-local" step="1" value=(in_form(value)) autocomplete="off";
        },
    }
}
