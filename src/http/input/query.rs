//! Query strings: known parameters only, each at most once.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::text;
use crate::http::problem::{Kind, Problem};

/// The parameters of a query string, and what is wrong with them so far.
#[derive(Debug)]
pub(in crate::http) struct Query {
    given: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Query {
    /// Reads `raw`, the part after the question mark, which may name each of `known` once.
    pub fn read(raw: Option<&str>, known: &[&str]) -> Self {
        let mut query = Self { given: BTreeMap::new(), wrong: Vec::new() };
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if let Err(wrong) = text::fits(&value) {
                query.wrong.push(format!("{name:?} {wrong}"));
            } else if !known.contains(&name.as_ref()) {
                query.wrong.push(format!("{name:?} is no parameter of this call; known here: {}", known.join(", ")));
            } else if query.given.insert(name.to_string(), value.into_owned()).is_some() {
                query.wrong.push(format!("{name} is given twice; send it once"));
            }
        }
        query
    }

    /// What `parse` makes of the parameter `name`, if it is given.
    pub fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let parsed = parse(self.given.get(name)?);
        parsed.map_err(|wrong| self.wrong.push(format!("{name} {wrong}"))).ok()
    }

    /// The parameter `name` as a number of at least `min` and at most `max`, if it is given.
    pub fn number(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        self.optional(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
            number.ok_or_else(|| format!("is {text:?}; send a whole number from {min} to {max}"))
        })
    }

    /// Says all that was wrong, at once.
    pub fn finish(self) -> Result<(), Problem> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::InvalidParameter, self.wrong.join("; and ")))
    }
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
    fn all_that_is_wrong_is_said_at_once() {
        let mut query =
            Query::read(Some("limit=0&wat=1&limit=0&wait=+1&far=99999999999999999999"), &["limit", "wait", "far"]);
        assert_eq!(query.number("limit", 1, 200), None);
        assert_eq!(query.number("wait", 0, 30), None);
        assert_eq!(query.number("far", 0, 30), None);
        assert_eq!(query.wrong.len(), 5, "{:?}", query.wrong);
        assert!(query.finish().is_err());
    }

    #[test]
    fn what_no_database_takes_is_refused_whatever_the_parameter_means() {
        let mut query = Query::read(Some("destination=a%00b&limit=7"), &["destination", "limit"]);
        assert_eq!(query.optional("destination", |text| Ok(text.to_owned())), None);
        assert_eq!(query.wrong, ["\"destination\" has control characters; send printable text"]);
        assert!(query.finish().is_err());
    }

    #[test]
    fn no_query_string_is_no_parameter() {
        let mut query = Query::read(None, &["limit"]);
        assert_eq!(query.number("limit", 1, 200), None);
        assert!(query.finish().is_ok());
    }
}
