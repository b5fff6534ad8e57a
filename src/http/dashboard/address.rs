//! Where a reader is: the page, and its filters.

use std::collections::BTreeMap;

use axum::http::Uri;
use chrono::NaiveDateTime;
use url::form_urlencoded::{Serializer, parse};

/// The pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Overview,
    Causes,
    Events,
    Event,
    Quotes,
    Quote,
    Destinations,
    Workers,
    Promises,
    Actions,
    Settings,
}

/// The pages that each page links to, with their paths and the messages that name them.
pub(super) const PAGES: [(Page, &str, &str); 9] = [
    (Page::Overview, "/", "nav.overview"),
    (Page::Causes, "/causes", "nav.causes"),
    (Page::Events, "/events", "nav.events"),
    (Page::Quotes, "/quotes", "nav.quotes"),
    (Page::Destinations, "/destinations", "nav.destinations"),
    (Page::Workers, "/workers", "nav.workers"),
    (Page::Promises, "/promises", "nav.promises"),
    (Page::Actions, "/actions", "nav.actions"),
    (Page::Settings, "/settings", "nav.settings"),
];
/// Pages of one thing: below the path of their list.
pub(super) const DETAILS: [(Page, &str, &str); 2] =
    [(Page::Event, "/events/", "field.event"), (Page::Quote, "/quotes/", "field.quote")];

/// A page's address.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub page: Page,
    pub path: String,
    /// Of what the page shows one thing.
    pub id: Option<String>,
    query: BTreeMap<String, String>,
}

impl Address {
    /// Reads an address; none if there is no such page.
    pub fn read(uri: &Uri) -> Option<Self> {
        let path = uri.path();
        let detail = || {
            let (page, id) = DETAILS.iter().find_map(|(page, begin, _)| Some((page, path.strip_prefix(begin)?)))?;
            let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            is_id.then(|| (*page, Some(id.to_owned())))
        };
        let list = PAGES.iter().find(|(_, at, _)| *at == path).map(|(page, ..)| (*page, None));
        let (page, id) = list.or_else(detail)?;
        let pairs = parse(uri.query().unwrap_or_default().as_bytes());
        let set = pairs.filter(|(_, value)| !value.is_empty());
        let query = set
            .map(|(name, value)| {
                let is_time = name.ends_with("_after") || name.ends_with("_before");
                let value = value.into_owned();
                (name.into_owned(), if is_time { in_utc(value) } else { value })
            })
            .collect();
        Some(Self { page, path: path.to_owned(), id, query })
    }

    /// A filter; nothing if it is not set.
    pub fn filter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// This address with some filters changed; one that is empty is taken out.
    pub fn with(&self, changes: &[(&str, &str)]) -> String {
        let unchanged = self.query.iter().map(|(name, value)| (&**name, &**value));
        let unchanged = unchanged.filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        address(&self.path, unchanged.chain(changes.iter().copied()))
    }

    /// A call of the API with those filters of this address that it knows, and `more`.
    pub fn call(&self, path: &str, names: &[&str], more: &[(&str, &str)]) -> String {
        let known = names.iter().map(|name| (*name, self.filter(name)));
        address(path, known.chain(more.iter().copied()))
    }
}

/// A browser without scripts sends times as they are written into the form, where they are in UTC.
fn in_utc(value: String) -> String {
    match (
        NaiveDateTime::parse_from_str(&value, "%Y-%m-%dT%H:%M:%S"),
        NaiveDateTime::parse_from_str(&value, "%Y-%m-%dT%H:%M"),
    ) {
        (Ok(_), _) => value + "Z",
        (_, Ok(_)) => value + ":00Z",
        _ => value,
    }
}

/// `path` with those of `query` that are set.
pub(super) fn address<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let set = query.into_iter().filter(|(_, value)| !value.is_empty());
    let query = Serializer::new(String::new()).extend_pairs(set).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_page_and_its_filters() {
        let read = |text: &str| Address::read(&text.parse().expect("an address"));
        let events = read("/events?status=dead&cursor=&customer_id=a%26b").expect("a page");
        assert_eq!((events.page, events.filter("customer_id"), events.filter("cursor")), (Page::Events, "a&b", ""));
        assert_eq!(events.with(&[("cursor", "x y"), ("status", "")]), "/events?customer_id=a%26b&cursor=x+y");
        let call = events.call("/v1/outbox", &["status", "cause"], &[("limit", "50")]);
        assert_eq!(call, "/v1/outbox?status=dead&limit=50");
        let times =
            read("/quotes?submitted_after=2026-11-26T10:00&submitted_before=2026-11-26T10:00:07").expect("a page");
        assert_eq!(times.filter("submitted_after"), "2026-11-26T10:00:00Z");
        assert_eq!(times.filter("submitted_before"), "2026-11-26T10:00:07Z");
        let text = read("/events?error_contains=2026-11-26T10:00").expect("a page");
        assert_eq!(text.filter("error_contains"), "2026-11-26T10:00", "it is no time");
        let event = read("/events/01a2-7b").expect("a page");
        assert_eq!((event.page, event.id.as_deref()), (Page::Event, Some("01a2-7b")));
        for none in ["/nothing", "/events/", "/events/a/b", "/events/..%2f..", "/v1/stats", "/workers/1"] {
            assert!(read(none).is_none(), "{none}");
        }
    }
}
