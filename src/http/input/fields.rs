//! Reads JSON into valid values, or collects all errors of the body, each with its JSON pointer.

use std::{fmt::Write as _, ops::RangeInclusive};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::problem::Problem;

/// Most errors that an answer lists, so that a small body cannot cause a large answer.
const LISTED_MAX: usize = 1_000;
/// Most characters of a value that an error shows.
const SHOWN_MAX: usize = 40;

/// An error in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct FieldError {
    /// Where the error is, as a JSON pointer (RFC 6901).
    #[schema(format = "json-pointer", example = "/lines/0/quantity")]
    pub pointer: String,
    /// What is wrong, and what to send instead.
    #[schema(example = "is 0; send 1 to 1000000")]
    pub detail: String,
}

/// The errors found in a body so far.
#[derive(Debug, Default)]
pub(in crate::http) struct FieldErrors {
    listed: Vec<FieldError>,
    total: usize,
}

/// A value, or the place of a missing one, and the path to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Node<'a> {
    value: Option<&'a Value>,
    segment: Segment<'a>,
    parent: Option<&'a Node<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'a> {
    Root,
    Field(&'a str),
    Entry(usize),
}

/// An object whose fields are all known.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Object<'a> {
    fields: &'a Map<String, Value>,
    node: &'a Node<'a>,
}

impl FieldErrors {
    /// Returns what was read, unless there are errors.
    pub fn or_read<T>(self, read: Option<T>) -> Result<T, Problem> {
        read.filter(|_| self.total == 0).ok_or_else(|| Problem::invalid_body(self))
    }

    /// The first errors, and how many there are in all.
    pub fn into_listed(self) -> (Vec<FieldError>, usize) {
        (self.listed, self.total)
    }

    fn add(&mut self, at: &Node<'_>, detail: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(FieldError { pointer: at.pointer(), detail: detail.into() });
        }
    }
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self { value: Some(value), segment: Segment::Root, parent: None }
    }

    /// The field of an object that is not kept.
    pub(super) fn field_of(object: &'a Node<'a>, name: &'a str, value: &'a Value) -> Self {
        Self { value: Some(value), segment: Segment::Field(name), parent: Some(object) }
    }

    /// A field that is missing in the body.
    pub(super) fn missing(name: &'a str) -> Self {
        Self { value: None, segment: Segment::Field(name), parent: None }
    }

    /// An entry of this list.
    pub(super) fn entry(&'a self, index: usize, value: &'a Value) -> Self {
        Self { value: Some(value), segment: Segment::Entry(index), parent: Some(self) }
    }

    /// Records a field of the body that is not `known`.
    pub(super) fn unknown(name: &'a str, known: &[&str], errors: &mut FieldErrors) {
        errors.add(&Self::missing(name), format!("is unknown; the known fields are {}", known.join(", ")));
    }

    /// Records that this list has another length, whatever its entries are.
    pub(super) fn has_wrong_length(&self, length: usize, lengths: &RangeInclusive<usize>, errors: &mut FieldErrors) {
        errors.add(self, format!("has {length} entries; send {} to {}", lengths.start(), lengths.end()));
    }

    /// An object without other fields than `known`.
    pub fn object(&'a self, known: &[&str], errors: &mut FieldErrors) -> Option<Object<'a>> {
        let value = self.present("an object", errors)?;
        let Some(fields) = value.as_object() else {
            errors.add(self, format!("{}; send an object", describe(value)));
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let unknown = Node { parent: Some(self), ..Node::missing(name) };
            errors.add(&unknown, format!("is unknown; the known fields are {}", known.join(", ")));
        }
        Some(Object { fields, node: self })
    }

    /// A string that `parse` accepts.
    pub fn text<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>, errors: &mut FieldErrors) -> Option<T> {
        let value = self.present("a string", errors)?;
        match value.as_str() {
            Some(text) => self.parsed(parse(text), errors),
            None => self.error(format!("{}; send a string", describe(value)), errors),
        }
    }

    /// An integer that `parse` accepts. Floats are refused: amounts and counts have no fractions.
    pub fn integer<T>(&self, parse: impl FnOnce(i64) -> Result<T, String>, errors: &mut FieldErrors) -> Option<T> {
        let value = self.present("an integer", errors)?;
        match value.as_i64() {
            Some(number) => self.parsed(parse(number), errors),
            None if value.is_u64() => {
                self.error(format!("is {value}, which exceeds 64 bits; send a smaller integer"), errors)
            }
            None if value.is_f64() => {
                self.error(format!("is {value}; send a 64-bit integer without fraction or exponent"), errors)
            }
            None => self.error(format!("{}; send an integer", describe(value)), errors),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value.is_some_and(Value::is_null)
    }

    /// True or false.
    pub fn boolean(&self, errors: &mut FieldErrors) -> Option<bool> {
        let value = self.present("true or false", errors)?;
        match value.as_bool() {
            Some(truth) => Some(truth),
            None => self.error(format!("{}; send true or false", describe(value)), errors),
        }
    }

    /// A list whose length is within `lengths`, each entry read by `read`. `None` if there is an error in it.
    pub fn list<T>(
        &self,
        lengths: RangeInclusive<usize>,
        read: impl Fn(&Node<'_>, &mut FieldErrors) -> Option<T>,
        errors: &mut FieldErrors,
    ) -> Option<Vec<T>> {
        let value = self.present("an array", errors)?;
        let Some(entries) = value.as_array() else {
            return self.error(format!("{}; send an array", describe(value)), errors);
        };
        let fits = lengths.contains(&entries.len());
        if !fits {
            self.has_wrong_length(entries.len(), &lengths, errors);
        }
        let mut list = Vec::with_capacity(entries.len().min(*lengths.end()));
        for (index, entry) in entries.iter().enumerate().take(*lengths.end()) {
            list.push(read(&self.entry(index, entry), errors));
        }
        if fits { list.into_iter().collect() } else { None }
    }

    /// Records the error of `parsed`, if it is one.
    pub fn parsed<T>(&self, parsed: Result<T, String>, errors: &mut FieldErrors) -> Option<T> {
        parsed.map_err(|detail| errors.add(self, detail)).ok()
    }

    fn error<T>(&self, detail: String, errors: &mut FieldErrors) -> Option<T> {
        errors.add(self, detail);
        None
    }

    fn present(&self, wanted: &str, errors: &mut FieldErrors) -> Option<&'a Value> {
        if self.value.is_none() {
            errors.add(self, format!("is missing; send {wanted}"));
        }
        self.value
    }

    fn pointer(&self) -> String {
        let mut pointer = self.parent.map(Node::pointer).unwrap_or_default();
        match self.segment {
            Segment::Root => {}
            Segment::Field(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Entry(index) => {
                let _ = write!(pointer, "/{index}");
            }
        }
        pointer
    }
}

impl<'a> Object<'a> {
    /// A field, present or missing.
    pub fn field(&self, name: &'a str) -> Node<'a> {
        Node { value: self.fields.get(name), segment: Segment::Field(name), parent: Some(self.node) }
    }

    /// A field that may be missing.
    pub fn optional(&self, name: &'a str) -> Option<Node<'a>> {
        Some(self.field(name)).filter(|node| node.value.is_some())
    }
}

/// Describes a value and its type, to follow the field's name.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "is null".to_owned(),
        Value::Bool(value) => format!("is {value}"),
        Value::Number(number) => format!("is the number {number}"),
        Value::String(text) if text.chars().count() <= SHOWN_MAX => format!("is the string {text:?}"),
        Value::String(_) => "is a string".to_owned(),
        Value::Array(_) => "is an array".to_owned(),
        Value::Object(_) => "is an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of(value: &Value, read: impl Fn(&Node<'_>, &mut FieldErrors)) -> Vec<(String, String)> {
        let mut errors = FieldErrors::default();
        read(&Node::root(value), &mut errors);
        errors.into_listed().0.into_iter().map(|error| (error.pointer, error.detail)).collect()
    }

    fn error(pointer: &str, detail: &str) -> (String, String) {
        (pointer.to_owned(), detail.to_owned())
    }

    #[test]
    fn names_are_escaped_in_pointers() {
        let value = json!({"a/b": 1, "m~n": 1, "": 1, "fits": 1});
        let found = errors_of(&value, |node, errors| {
            node.object(&["fits"], errors);
        });
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/", "/a~1b", "/m~0n"]);
    }

    #[test]
    fn an_integer_is_neither_float_nor_text_nor_beyond_64_bits() {
        let value = json!([1, 1.0, 1e3, "1", null, true, u64::MAX, 1e300, {}, i64::MIN]);
        let found = errors_of(&value, |node, errors| {
            node.list(0..=99, |entry, errors| entry.integer(Ok, errors), errors);
        });
        let floats = "send a 64-bit integer without fraction or exponent";
        assert_eq!(
            found,
            [
                error("/1", &format!("is 1.0; {floats}")),
                error("/2", &format!("is 1000.0; {floats}")),
                error("/3", "is the string \"1\"; send an integer"),
                error("/4", "is null; send an integer"),
                error("/5", "is true; send an integer"),
                error("/6", "is 18446744073709551615, which exceeds 64 bits; send a smaller integer"),
                error("/7", &format!("is 1e+300; {floats}")),
                error("/8", "is an object; send an integer"),
            ]
        );
    }

    #[test]
    fn a_list_of_another_length_is_still_read() {
        let found = errors_of(&json!([1, "two", 3]), |node, errors| {
            let read = node.list(0..=2, |entry, errors| entry.integer(Ok, errors), errors);
            assert_eq!(read, None);
        });
        let expected = [error("", "has 3 entries; send 0 to 2"), error("/1", "is the string \"two\"; send an integer")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_field_and_one_of_another_type_are_two_errors() {
        let found = errors_of(&json!({"a": 1}), |node, errors| {
            let object = node.object(&["a", "b"], errors).expect("an object");
            object.field("a").text(|_| Ok(()), errors);
            object.field("b").text(|_| Ok(()), errors);
            assert!(object.optional("b").is_none());
        });
        let expected = [error("/a", "is the number 1; send a string"), error("/b", "is missing; send a string")];
        assert_eq!(found, expected);
    }

    #[test]
    fn errors_beyond_the_limit_are_only_counted() {
        let mut errors = FieldErrors::default();
        let value = Value::Null;
        for _ in 0..LISTED_MAX + 5 {
            errors.add(&Node::root(&value), "is wrong");
        }
        let (errors, total) = errors.into_listed();
        assert_eq!((errors.len(), total), (LISTED_MAX, LISTED_MAX + 5));
    }
}
