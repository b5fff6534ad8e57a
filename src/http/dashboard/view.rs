//! What a page is made from: where the reader is, who that is, and the answers of the API to what the page needs.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    super::access::Caller,
    address::{Address, Page, address},
    format::{Show, short_id, text},
    pages,
    text::{Language, say},
};

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub caller: Caller,
    pub language: Language,
}

/// An answer of the API.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub status: u16,
    /// How old it is, in seconds: it may come from a replica.
    pub age: u64,
    pub body: Value,
}

/// What is known of a call: its last good answer, and why there is no newer one.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub good: Option<Arc<Answer>>,
    pub failure: Option<Arc<Answer>>,
    /// Since when the good one is not renewed.
    pub failing_since: Option<DateTime<Utc>>,
}

/// By the names that pages give to their calls.
pub(super) type Answers = BTreeMap<&'static str, Known>;

/// The calls that a page needs, by name.
pub(super) type Calls = Vec<(&'static str, String)>;

/// A page that is being made.
pub(super) struct View<'a> {
    pub address: &'a Address,
    pub reader: &'a Reader,
    pub answers: &'a Answers,
    pub now: DateTime<Utc>,
}

static NOTHING: Value = Value::Null;

impl Answer {
    /// Whether it is what was asked for.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Why it is no good answer.
    pub fn message(&self) -> String {
        let title = self.body["title"].as_str().map_or_else(|| self.status.to_string(), str::to_owned);
        let errors = self.body["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let errors = errors.iter().map(|it| format!("{} {}", text(&it["pointer"]), text(&it["detail"])));
        let detail = self.body["detail"].as_str().map(str::to_owned);
        let details: Vec<String> = detail.into_iter().chain(errors).collect();
        if details.is_empty() { title } else { format!("{title}: {}", details.join("; ")) }
    }
}

impl Known {
    /// Takes a new answer in: the last good one stays while others fail.
    pub fn learn(&mut self, answer: Arc<Answer>, now: DateTime<Utc>) {
        if answer.is_good() {
            *self = Self { good: Some(answer), failure: None, failing_since: None };
        } else {
            if answer.status == 404 {
                self.good = None;
            }
            self.failure = Some(answer);
            self.failing_since.get_or_insert(now);
        }
    }

    /// That the API does not have, or that an older version does not know.
    pub fn is_missing(&self) -> bool {
        self.failure.as_ref().is_some_and(|it| it.status == 404)
    }
}

impl<'a> View<'a> {
    pub fn language(&self) -> Language {
        self.reader.language
    }

    /// A message.
    pub fn t(&self, key: &str) -> String {
        say!(self.language(), key)
    }

    pub fn may_operate(&self) -> bool {
        self.reader.caller.is_operator()
    }

    pub fn known(&self, name: &str) -> Option<&'a Known> {
        self.answers.get(name)
    }

    /// What the API answered; none if it has not, or not well.
    pub fn answer(&self, name: &str) -> Option<&'a Value> {
        Some(&self.answers.get(name)?.good.as_ref()?.body)
    }

    /// The same; null if there is none.
    pub fn answer_or_null(&self, name: &str) -> &'a Value {
        self.answer(name).unwrap_or(&NOTHING)
    }

    /// What to show in place of something that is not there.
    pub fn instead(&self, name: &str) -> Markup {
        match self.known(name).and_then(|it| it.failure.as_ref()) {
            None => html! { p class="empty" { (self.t("page.loading")) } },
            Some(failure) => {
                let message = if failure.status == 404 { self.t("page.not_found") } else { failure.message() };
                html! { p class="empty bad" { (message) } }
            }
        }
    }

    /// A status with its colour; its word says the same. `kind` begins the message.
    pub fn badge(&self, status: &Value, kind: &str) -> Markup {
        let status = text(status);
        html! { span class={ "badge " (status) } { (self.t(&format!("{kind}.{status}"))) } }
    }

    /// How old the oldest answer is, in seconds; 0 if all are fresh.
    pub fn age(&self) -> u64 {
        self.answers.values().filter_map(|it| Some(it.good.as_ref()?.age)).max().unwrap_or_default()
    }

    /// What the page is about: the first of its calls.
    fn subject(&self) -> Option<&'a Known> {
        calls(self.address, self.answers, self.now).first().and_then(|(name, _)| self.known(name))
    }

    /// Whether there is nothing that the page could be about.
    pub fn is_missing(&self) -> bool {
        self.address.id.is_some() && self.subject().is_some_and(Known::is_missing)
    }

    /// Why what the page is about is not there, although it may be.
    pub fn failed(&self) -> Option<String> {
        let failure = self.subject().filter(|it| it.good.is_none())?.failure.as_ref()?;
        (failure.status >= 500 || failure.status == 429).then(|| failure.message())
    }

    /// A call that fails although it has been answered before: since when, and why.
    pub fn failing(&self) -> Option<(DateTime<Utc>, String)> {
        let stale = self.answers.values().filter(|it| it.good.is_some());
        stale.filter_map(|it| Some((it.failing_since?, it.failure.as_ref()?.message()))).min()
    }
}

/// A link to a quote; nothing without an id.
pub(super) fn quote_link(id: &Value) -> Markup {
    of_id("/quotes", id)
}

/// A link to an event; nothing without an id.
pub(super) fn event_link(id: &Value) -> Markup {
    of_id("/events", id)
}

fn of_id(list: &str, id: &Value) -> Markup {
    html! { @if let Some(id) = id.as_str() { a class="id" href=(address(&format!("{list}/{id}"), [])) title=(id) { (short_id(id)) } } }
}

/// A link with a text.
pub(super) fn link<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>, text: &str) -> Markup {
    html! { a href=(address(path, query)) { (text) } }
}

/// Names and values; a value that is empty is left out.
pub(super) fn facts(pairs: &[(String, Markup)]) -> Markup {
    html! {
        dl class="facts" {
            @for (name, value) in pairs.iter().filter(|(_, value)| !value.0.is_empty()) {
                div data-key=(name) { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// The calls that a page needs. More may be needed once some of them are answered.
pub(super) fn calls(at: &Address, answers: &Answers, now: DateTime<Utc>) -> Calls {
    let id = at.id.as_deref().unwrap_or_default();
    match at.page {
        Page::Overview => pages::overview::calls(at, now),
        Page::Causes => pages::causes::calls(at),
        Page::Events => pages::events::calls(at),
        Page::Event => pages::event::calls(id, answers),
        Page::Quotes => pages::quotes::calls(at),
        Page::Quote => pages::quote::calls(id),
        Page::Destinations => pages::destinations::calls(),
        Page::Workers => pages::workers::calls(),
        Page::Promises => pages::promises::calls(),
        Page::Actions => pages::actions::calls(at),
        Page::Settings => pages::settings::calls(),
    }
}

/// What the page shows.
pub(super) fn content(view: &View<'_>) -> Markup {
    match view.address.page {
        Page::Overview => pages::overview::content(view),
        Page::Causes => pages::causes::content(view),
        Page::Events => pages::events::content(view),
        Page::Event => pages::event::content(view),
        Page::Quotes => pages::quotes::content(view),
        Page::Quote => pages::quote::content(view),
        Page::Destinations => pages::destinations::content(view),
        Page::Workers => pages::workers::content(view),
        Page::Promises => pages::promises::content(view),
        Page::Actions => pages::actions::content(view),
        Page::Settings => pages::settings::content(view),
    }
}

/// How the page is called: the message.
pub(super) fn title(page: Page) -> &'static str {
    let all = super::address::PAGES.iter().chain(&super::address::DETAILS);
    all.into_iter().find(|(it, ..)| *it == page).map_or("page.unknown", |(.., title)| title)
}

/// A text as a fact.
pub(super) fn of_text(text: &str) -> Markup {
    html! { (text) }
}

/// A time as a fact: exactly.
pub(super) fn at(time: &Value) -> Markup {
    super::format::time(time, Show::Exact)
}
