//! Long lists: each entry is parsed and read before the next one is, so that the values of one entry are in memory at a time.

use std::{fmt, ops::RangeInclusive};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    FieldErrors, Node,
    json::{Budget, Strict, parse, problem},
};
use crate::http::problem::Problem;

/// The object `{"name": […]}`, whose entries `read` reads.
struct Document<'a, R> {
    name: &'static str,
    lengths: RangeInclusive<usize>,
    read: R,
    budget: usize,
    errors: &'a mut FieldErrors,
}

/// Its list.
struct Entries<'a, 'b, R>(&'b mut Document<'a, R>);

/// Parses the object `{"name": […]}` and reads the entries of its list, whose length is within `lengths`.
pub(in crate::http) fn parse_list<T>(
    bytes: &[u8],
    name: &'static str,
    lengths: RangeInclusive<usize>,
    read: impl Fn(&Node<'_>, &mut FieldErrors) -> Option<T>,
) -> Result<Vec<T>, Problem> {
    let mut errors = FieldErrors::default();
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let value = parse(bytes)?;
        Node::root(&value).object(&[name], &mut errors);
        return errors.or_read(None);
    }
    let document = Document { name, lengths, read, budget: Budget::bytes_for(bytes), errors: &mut errors };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let list = document.deserialize(&mut json).and_then(|list| json.end().map(|()| list));
    let list = list.map_err(|error| problem(&error))?;
    errors.or_read(list)
}

impl<'de, T, R: Fn(&Node<'_>, &mut FieldErrors) -> Option<T>> DeserializeSeed<'de> for Document<'_, R> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T, R: Fn(&Node<'_>, &mut FieldErrors) -> Option<T>> Visitor<'de> for Document<'_, R> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut list = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.name {
                Node::unknown(&key, &[self.name], self.errors);
                map.next_value::<IgnoredAny>()?;
            } else if list.is_some() {
                return Err(A::Error::custom(format_args!("the key {key:?} is repeated in one object")));
            } else {
                list = Some(map.next_value_seed(Entries(&mut self))?);
            }
        }
        Ok(list.unwrap_or_else(|| Node::missing(self.name).list(0..=0, |_, _| None, self.errors)))
    }
}

impl<'de, T, R: Fn(&Node<'_>, &mut FieldErrors) -> Option<T>> DeserializeSeed<'de> for Entries<'_, '_, R> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T, R: Fn(&Node<'_>, &mut FieldErrors) -> Option<T>> Entries<'_, '_, R> {
    /// What is no list.
    fn wrong(self, value: &Value) -> Option<Vec<T>> {
        let Document { name, lengths, errors, .. } = self.0;
        let root = Node::root(&Value::Null);
        Node::field_of(&root, name, value).list(lengths.clone(), |_, _| None, errors)
    }
}

impl<'de, T, R: Fn(&Node<'_>, &mut FieldErrors) -> Option<T>> Visitor<'de> for Entries<'_, '_, R> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.wrong(&Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.wrong(&value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.wrong(&value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.wrong(&value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.wrong(&value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.wrong(&value.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.wrong(&Value::Object(serde_json::Map::new())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Document { name, lengths, read, budget, errors } = self.0;
        let (root, mut list, mut length) = (Node::root(&Value::Null), Vec::new(), 0);
        let node = Node::field_of(&root, name, &Value::Null);
        loop {
            // Entries beyond the limit are only counted.
            if length >= *lengths.end() {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    break;
                }
            } else {
                let Some(value) = seq.next_element_seed(Strict(&Budget::of(*budget)))? else { break };
                list.push(read(&node.entry(length, &value), errors));
            }
            length += 1;
        }
        if !lengths.contains(&length) {
            node.has_wrong_length(length, lengths, errors);
            return Ok(None);
        }
        Ok(list.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<i64>, Problem> {
        parse_list(text.as_bytes(), "list", 1..=3, |node, errors| node.integer(Ok, errors))
    }

    fn errors_of(text: &str) -> String {
        format!("{:?}", read(text).expect_err("errors"))
    }

    #[test]
    fn entries_are_read_in_their_order() {
        assert_eq!(read(r#" {"list": [1, 2, 3]} "#).expect("a list"), [1, 2, 3]);
    }

    #[test]
    fn everything_that_is_wrong_is_found() {
        let found = errors_of(r#"{"other": {"a": []}, "list": [1, "two", 3, 4, {"five": 5}], "a/b": 1}"#);
        for part in
            ["/other", "/list/1", "/a~1b", "has 5 entries; send 1 to 3", "is unknown; the known fields are list"]
        {
            assert!(found.contains(part), "{part} not in {found}");
        }
        assert!(!found.contains("/list/4"), "{found}");
        for (text, part) in [
            ("{}", "is missing; send an array"),
            (r#"{"list": []}"#, "has 0 entries; send 1 to 3"),
            (r#"{"list": {"a": 1}}"#, "is an object; send an array"),
            (r#"{"list": null}"#, "is null; send an array"),
            (r#"{"list": "text"}"#, "is the string"),
            ("[1]", "is an array; send an object"),
            ("7", "is the number 7; send an object"),
        ] {
            assert!(errors_of(text).contains(part), "{part} not in {}", errors_of(text));
        }
    }

    #[test]
    fn malformed_json_is_refused_wherever_it_is() {
        for text in
            ["", "{", r#"{"list": [1]"#, r#"{"list": [1]} 2"#, r#"{"list": [1,]}"#, r#"{"list": [{"a": 1, "a": 2}]}"#]
        {
            assert!(errors_of(text).contains("MalformedJson"), "{text}");
        }
        assert!(errors_of(r#"{"list": [1], "list": [2]}"#).contains("MalformedJson"));
        assert!(errors_of(r#"{"list": [1, 2, 3, 4}"#).contains("MalformedJson"));
    }
}
