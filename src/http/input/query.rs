//! Query parameters: only known ones, each at most once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, Iterable};
use url::form_urlencoded;
use uuid::Uuid;

use crate::{
    http::{
        cursor,
        problem::{Kind, Problem},
    },
    printable,
};

/// Rows of a page, unless `limit` says otherwise.
const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: u64 = 200;

/// The parameters of a query string, and the errors found in them so far.
#[derive(Debug)]
pub(in crate::http) struct Query {
    given: BTreeMap<String, String>,
    errors: Vec<String>,
}

impl Query {
    /// Reads `raw`, the part after the question mark, which may name each of `known` once.
    pub fn read(raw: Option<&str>, known: &[&str]) -> Self {
        let mut query = Self { given: BTreeMap::new(), errors: Vec::new() };
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if let Err(error) = printable::check(&value) {
                query.errors.push(format!("{name:?} {error}"));
            } else if !known.contains(&name.as_ref()) {
                query.errors.push(format!("{name:?} is unknown; the known parameters are {}", known.join(", ")));
            } else if query.given.insert(name.to_string(), value.into_owned()).is_some() {
                query.errors.push(format!("{name} is repeated; send it once"));
            }
        }
        query
    }

    /// The parameter `name`, read by `parse`, if it is given.
    pub fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let parsed = parse(self.given.get(name)?);
        parsed.map_err(|error| self.errors.push(format!("{name} {error}"))).ok()
    }

    /// The parameter `name` as a number of at least `min` and at most `max`, if it is given.
    pub fn number(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        self.optional(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
            number.ok_or_else(|| format!("is {text:?}; send a whole number from {min} to {max}"))
        })
    }

    /// The parameter `name` as a UUID, if it is given.
    pub fn id(&mut self, name: &str) -> Option<Uuid> {
        self.optional(name, |id| Uuid::try_parse(id).map_err(|_| format!("is {id:?}; send a UUID")))
    }

    /// The parameter `name` as a time, if it is given.
    pub fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.optional(name, time)
    }

    /// The parameter `status` as a status that a column can have, if it is given.
    pub fn status<S: ActiveEnum<Value = String> + Iterable>(&mut self) -> Option<S> {
        self.optional("status", |text| {
            S::try_from_value(&text.to_owned()).map_err(|_| {
                let mut known: Vec<_> = S::iter().map(|status| status.to_value()).collect();
                let last = known.pop().unwrap_or_default();
                format!("is {text:?}; send {} or {last}", known.join(", "))
            })
        })
    }

    /// How many rows a page has: the parameter `limit`.
    pub fn limit(&mut self) -> u64 {
        self.number("limit", 1, LIMIT_MAX).unwrap_or(LIMIT_DEFAULT)
    }

    /// The row that a page follows: the parameter `cursor`.
    pub fn cursor(&mut self) -> Option<Uuid> {
        self.optional("cursor", cursor::parse)
    }

    /// Fails with all errors at once, if there are any.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::InvalidParameter, self.errors.join("; and ")))
    }
}

/// A time of RFC 3339.
pub(in crate::http) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(Into::into).map_err(|_| format!("is {text:?}; send a time such as 2026-11-26T09:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_parsed() {
        let mut query = Query::read(Some("customer_id=a%20b%2B&limit=7"), &["customer_id", "limit"]);
        assert_eq!(query.optional("customer_id", |text| Ok(text.to_owned())), Some("a b+".to_owned()));
        assert_eq!(query.number("limit", 1, 200), Some(7));
        assert!(query.finish().is_ok());
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let mut query =
            Query::read(Some("limit=0&wat=1&limit=0&wait=+1&far=99999999999999999999"), &["limit", "wait", "far"]);
        assert_eq!(query.number("limit", 1, 200), None);
        assert_eq!(query.number("wait", 0, 30), None);
        assert_eq!(query.number("far", 0, 30), None);
        assert_eq!(query.errors.len(), 5, "{:?}", query.errors);
        assert!(query.finish().is_err());
    }

    #[test]
    fn control_characters_are_refused_in_every_parameter() {
        let mut query = Query::read(Some("destination=a%00b&limit=7"), &["destination", "limit"]);
        assert_eq!(query.optional("destination", |text| Ok(text.to_owned())), None);
        assert_eq!(query.errors, ["\"destination\" has control characters; send printable text"]);
        assert!(query.finish().is_err());
    }

    #[test]
    fn a_missing_query_string_has_no_parameters() {
        let mut query = Query::read(None, &["limit"]);
        assert_eq!(query.number("limit", 1, 200), None);
        assert!(query.finish().is_ok());
    }
}
