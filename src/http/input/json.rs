//! Parsing JSON bodies.

use std::{cell::Cell, fmt};

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::body::receive;
use crate::http::{
    AppState,
    problem::{Kind, Problem},
};

/// Most bytes of a body, unless its route says otherwise.
pub(in crate::http) const BODY_BYTES_MAX: usize = 256 * 1024;

/// A JSON body of at most `LIMIT` bytes.
#[derive(Debug)]
pub(in crate::http) struct JsonBody<const LIMIT: usize = BODY_BYTES_MAX>(pub Value);

/// An optional JSON body. An empty body and `null` count as none.
#[derive(Debug)]
pub(in crate::http) struct OptionalJsonBody(pub Option<Value>);

/// The memory that the values of a body may take, estimated while they are parsed. No valid body comes near it: small objects in
/// large numbers take 90 times the memory of their text.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

/// A list's element, with what the list has reserved for more of them.
const ELEMENT_BYTES: usize = 2 * size_of::<Value>();
/// The allocation of a text, beside its bytes.
const TEXT_BYTES: usize = 32;
/// An object's first node, which holds up to eleven fields.
const OBJECT_BYTES: usize = 12 * (size_of::<String>() + size_of::<Value>());
/// A field beyond these, where nodes are half full.
const FIELD_BYTES: usize = 2 * (size_of::<String>() + size_of::<Value>());
const FIELDS_OF_FIRST_NODE: usize = 11;
/// What any body may take.
const SMALL_BYTES: usize = 128 * 1024;
const TOO_MANY_VALUES: &str = "too many values";

impl Budget {
    /// The budget of a body, in bytes.
    pub fn bytes_for(body: &[u8]) -> usize {
        SMALL_BYTES + 4 * body.len()
    }

    pub fn of(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    fn spend<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes).ok_or_else(|| E::custom(TOO_MANY_VALUES))?;
        self.0.set(left);
        Ok(())
    }
}

impl<const LIMIT: usize> FromRequest<AppState> for JsonBody<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        parse(&receive(request, state, LIMIT).await?.bytes).map(Self)
    }
}

impl FromRequest<AppState> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let headers = check_headers(request.headers());
        let received = receive(request, state, BODY_BYTES_MAX).await?;
        if received.bytes.is_empty() {
            return Ok(Self(None));
        }
        headers?;
        parse(&received.bytes).map(|value| Self(Some(value).filter(|value| !value.is_null())))
    }
}

pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let media_type = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Kind::UnsupportedMediaType, "add the header Content-Type: application/json"));
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(Problem::new(Kind::UnsupportedMediaType, "compressed bodies are not supported")),
    }
}

pub(in crate::http) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let budget = Budget::of(Budget::bytes_for(bytes));
    let value = Strict(&budget).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| problem(&error))
}

/// Why a body was not parsed.
pub(super) fn problem(error: &serde_json::Error) -> Problem {
    let detail = error.to_string();
    if detail.starts_with(TOO_MANY_VALUES) {
        return Problem::new(Kind::InvalidBody, "the body has more values than any valid one; nothing was stored");
    }
    Problem::new(Kind::MalformedJson, detail)
}

/// Builds a value as `serde_json` does, but refuses objects that repeat a key: RFC 8259, section 4, calls their meaning
/// unpredictable. The values take at most the budget.
#[derive(Clone, Copy)]
pub(super) struct Strict<'a>(pub &'a Budget);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.spend(TEXT_BYTES + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            self.0.spend(ELEMENT_BYTES)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let node = match object.len() {
                0 => OBJECT_BYTES,
                1..FIELDS_OF_FIRST_NODE => 0,
                _ => FIELD_BYTES,
            };
            self.0.spend(TEXT_BYTES + key.len() + node)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is repeated in one object")));
            }
            object.insert(key, map.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_as_it_is_written() {
        let text = r#" {"a": [1, -1, 1.5, true, null, "ä\u00e4", 18446744073709551615], "b": {"a": {}}} "#;
        let expected = json!({"a": [1, -1, 1.5, true, null, "ää", u64::MAX], "b": {"a": {}}});
        assert_eq!(parse(text.as_bytes()).expect("JSON"), expected);
    }

    #[test]
    fn malformed_json_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "nul", "{} {}", "{'a': 1}", "[1,]", "{\"a\": 01}", "NaN", "\"\\ud800\"", &deep] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn values_take_a_few_times_the_memory_of_their_text() {
        let small_objects = format!("[{}1]", "{\"a\":1},".repeat(30_000));
        let deep_fields = format!(
            "{{{}\"last\":[]}}",
            (0..30_000).map(|n| format!("\"{n}\":{{\"\":0}},")).collect::<Vec<_>>().concat()
        );
        for text in [small_objects, deep_fields] {
            let refused = format!("{:?}", parse(text.as_bytes()).expect_err("too many"));
            assert!(refused.contains("more values than any valid one"), "{refused}");
        }
        // As large as a valid quote can be.
        let line = json!({"description": "x", "quantity": 1, "unit_price_minor": 0});
        let quote = json!({"customer_id": "c", "currency": "EUR", "lines": vec![line; 100]});
        assert!(parse(quote.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(parse(br#"{"a": {"b": 1, "c": 2, "b": 1}}"#).is_err());
        assert!(parse(br#"{"a": {"b": 1}, "b": 1}"#).is_ok());
    }
}
