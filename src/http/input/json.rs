//! JSON bodies: reading bytes and parsing them.

use std::fmt;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::http::problem::{Kind, Problem};

/// Most bytes of a body, unless its route says otherwise.
pub(in crate::http) const BODY_BYTES_MAX: usize = 256 * 1024;

/// Up to this many bytes are read and discarded before a body is refused as too large. Many clients read the answer only
/// after they have sent everything, and would see a connection reset instead.
const DISCARDED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A JSON body of at most `LIMIT` bytes.
#[derive(Debug)]
pub(in crate::http) struct JsonBody<const LIMIT: usize = BODY_BYTES_MAX>(pub Value);

/// An optional JSON body. An empty body and `null` count as none.
#[derive(Debug)]
pub(in crate::http) struct OptionalJsonBody(pub Option<Value>);

impl<S: Sync, const LIMIT: usize> FromRequest<S> for JsonBody<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        parse(&read(request.into_body(), LIMIT).await?).map(Self)
    }
}

impl<S: Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = check_headers(request.headers());
        let bytes = read(request.into_body(), BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        headers?;
        parse(&bytes).map(|value| Self(Some(value).filter(|value| !value.is_null())))
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
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

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut length = 0;
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Problem::new(Kind::MalformedJson, "the body ended early; send it again"))?;
        length += frame.len();
        if length <= limit {
            bytes.extend_from_slice(&frame);
        } else if length > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if length > limit {
        return Err(Problem::new(Kind::BodyTooLarge, format!("the body exceeds the limit of {} KiB", limit / 1024)));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| Problem::new(Kind::MalformedJson, error.to_string()))
}

/// Builds a value as `serde_json` does, but refuses objects that repeat a key: RFC 8259, section 4, calls their meaning
/// unpredictable.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
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

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is repeated in one object")));
            }
            object.insert(key, map.next_value_seed(Strict)?);
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
    fn a_repeated_key_is_refused() {
        assert!(parse(br#"{"a": {"b": 1, "c": 2, "b": 1}}"#).is_err());
        assert!(parse(br#"{"a": {"b": 1}, "b": 1}"#).is_ok());
    }
}
