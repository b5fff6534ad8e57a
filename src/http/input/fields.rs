//! JSON becomes parts that can't be wrong, or faults, each with its place: all of a body's at once.

use std::{fmt::Write as _, ops::RangeInclusive};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::problem::Problem;

/// No answer lists more: one that names half a million faults helps nobody, and small bodies could cause large answers.
const FAULTS_MAX: usize = 1_000;
/// No fault shows more characters of a value.
const SHOWN_MAX: usize = 40;

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Fault {
    /// Where, as a JSON pointer (RFC 6901).
    #[schema(format = "json-pointer", example = "/lines/0/quantity")]
    pub pointer: String,
    /// What, and how to mend it.
    #[schema(example = "is 0; send 1 to 1000000")]
    pub detail: String,
}

/// What is wrong with a body so far.
#[derive(Debug, Default)]
pub(in crate::http) struct Faults {
    found: Vec<Fault>,
    total: usize,
}

/// A value, or a place where one is missing, and the way to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Node<'a> {
    value: Option<&'a Value>,
    step: Step<'a>,
    parent: Option<&'a Node<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Entry(usize),
}

/// A node that is an object of known fields.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Object<'a> {
    fields: &'a Map<String, Value>,
    node: &'a Node<'a>,
}

impl Faults {
    /// What was read, if nothing at all is wrong.
    pub fn or_whole<T>(self, read: Option<T>) -> Result<T, Problem> {
        read.filter(|_| self.total == 0).ok_or_else(|| Problem::invalid_body(self))
    }

    /// The first faults, and how many there are.
    pub fn into_errors(self) -> (Vec<Fault>, usize) {
        (self.found, self.total)
    }

    fn add(&mut self, at: &Node<'_>, detail: impl Into<String>) {
        self.total += 1;
        if self.found.len() < FAULTS_MAX {
            self.found.push(Fault { pointer: at.pointer(), detail: detail.into() });
        }
    }
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self { value: Some(value), step: Step::Root, parent: None }
    }

    /// The fields of an object that has no others than `known`.
    pub fn object(&'a self, known: &[&str], faults: &mut Faults) -> Option<Object<'a>> {
        let value = self.present("an object", faults)?;
        let Some(fields) = value.as_object() else {
            faults.add(self, format!("{}; send an object", is(value)));
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let unknown = Node { value: None, step: Step::Field(name), parent: Some(self) };
            faults.add(&unknown, format!("is no known field; known here: {}", known.join(", ")));
        }
        Some(Object { fields, node: self })
    }

    /// Text that `parse` takes.
    pub fn text<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>, faults: &mut Faults) -> Option<T> {
        let value = self.present("a string", faults)?;
        match value.as_str() {
            Some(text) => self.parsed(parse(text), faults),
            None => self.fault(format!("{}; send a string", is(value)), faults),
        }
    }

    /// An integer that `parse` takes. Not one written as a float: money and counts have no fractions.
    pub fn integer<T>(&self, parse: impl FnOnce(i64) -> Result<T, String>, faults: &mut Faults) -> Option<T> {
        let value = self.present("an integer", faults)?;
        match value.as_i64() {
            Some(number) => self.parsed(parse(number), faults),
            None if value.is_u64() => self.fault(format!("is {value}, beyond 64 bits; send a smaller one"), faults),
            None if value.is_f64() => {
                self.fault(format!("is {value}; send an integer of 64 bits, without fraction or exponent"), faults)
            }
            None => self.fault(format!("{}; send an integer", is(value)), faults),
        }
    }

    /// True or false.
    pub fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        let value = self.present("true or false", faults)?;
        match value.as_bool() {
            Some(truth) => Some(truth),
            None => self.fault(format!("{}; send true or false", is(value)), faults),
        }
    }

    /// A list whose length is within `lengths`, each entry read by `read`. `None` if anything in it is at fault.
    pub fn list<T>(
        &self,
        lengths: RangeInclusive<usize>,
        read: impl Fn(&Node<'_>, &mut Faults) -> Option<T>,
        faults: &mut Faults,
    ) -> Option<Vec<T>> {
        let value = self.present("an array", faults)?;
        let Some(entries) = value.as_array() else {
            return self.fault(format!("{}; send an array", is(value)), faults);
        };
        let fits = lengths.contains(&entries.len());
        if !fits {
            let (min, max) = lengths.clone().into_inner();
            faults.add(self, format!("has {} entries; send {min} to {max}", entries.len()));
        }
        let mut list = Vec::with_capacity(entries.len().min(*lengths.end()));
        for (index, entry) in entries.iter().enumerate().take(*lengths.end()) {
            let entry = Node { value: Some(entry), step: Step::Entry(index), parent: Some(self) };
            list.push(read(&entry, faults));
        }
        if fits { list.into_iter().collect() } else { None }
    }

    /// What a check of the whole came to.
    pub fn parsed<T>(&self, parsed: Result<T, String>, faults: &mut Faults) -> Option<T> {
        parsed.map_err(|detail| faults.add(self, detail)).ok()
    }

    fn fault<T>(&self, detail: String, faults: &mut Faults) -> Option<T> {
        faults.add(self, detail);
        None
    }

    fn present(&self, wanted: &str, faults: &mut Faults) -> Option<&'a Value> {
        if self.value.is_none() {
            faults.add(self, format!("is missing; send {wanted}"));
        }
        self.value
    }

    fn pointer(&self) -> String {
        let mut pointer = self.parent.map(Node::pointer).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Step::Entry(index) => {
                let _ = write!(pointer, "/{index}");
            }
        }
        pointer
    }
}

impl<'a> Object<'a> {
    /// A field, present or missing.
    pub fn field(&self, name: &'a str) -> Node<'a> {
        Node { value: self.fields.get(name), step: Step::Field(name), parent: Some(self.node) }
    }

    /// A field that may be missing.
    pub fn optional(&self, name: &'a str) -> Option<Node<'a>> {
        Some(self.field(name)).filter(|node| node.value.is_some())
    }
}

/// A value and its type, in words that go on after the name of a field.
fn is(value: &Value) -> String {
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

    fn faults_of(value: &Value, read: impl Fn(&Node<'_>, &mut Faults)) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        read(&Node::root(value), &mut faults);
        faults.into_errors().0.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
    }

    fn fault(pointer: &str, detail: &str) -> (String, String) {
        (pointer.to_owned(), detail.to_owned())
    }

    #[test]
    fn names_are_escaped_in_pointers() {
        let value = json!({"a/b": 1, "m~n": 1, "": 1, "fits": 1});
        let found = faults_of(&value, |node, faults| {
            node.object(&["fits"], faults);
        });
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/", "/a~1b", "/m~0n"]);
    }

    #[test]
    fn an_integer_is_neither_float_nor_text_nor_beyond_64_bits() {
        let value = json!([1, 1.0, 1e3, "1", null, true, u64::MAX, 1e300, {}, i64::MIN]);
        let found = faults_of(&value, |node, faults| {
            node.list(0..=99, |entry, faults| entry.integer(Ok, faults), faults);
        });
        let floats = "send an integer of 64 bits, without fraction or exponent";
        assert_eq!(
            found,
            [
                fault("/1", &format!("is 1.0; {floats}")),
                fault("/2", &format!("is 1000.0; {floats}")),
                fault("/3", "is the string \"1\"; send an integer"),
                fault("/4", "is null; send an integer"),
                fault("/5", "is true; send an integer"),
                fault("/6", "is 18446744073709551615, beyond 64 bits; send a smaller one"),
                fault("/7", &format!("is 1e+300; {floats}")),
                fault("/8", "is an object; send an integer"),
            ]
        );
    }

    #[test]
    fn a_list_of_another_length_is_still_read() {
        let found = faults_of(&json!([1, "two", 3]), |node, faults| {
            let read = node.list(0..=2, |entry, faults| entry.integer(Ok, faults), faults);
            assert_eq!(read, None);
        });
        let expected = [fault("", "has 3 entries; send 0 to 2"), fault("/1", "is the string \"two\"; send an integer")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_field_and_one_of_another_type_are_two_faults() {
        let found = faults_of(&json!({"a": 1}), |node, faults| {
            let object = node.object(&["a", "b"], faults).expect("an object");
            object.field("a").text(|_| Ok(()), faults);
            object.field("b").text(|_| Ok(()), faults);
            assert!(object.optional("b").is_none());
        });
        let expected = [fault("/a", "is the number 1; send a string"), fault("/b", "is missing; send a string")];
        assert_eq!(found, expected);
    }

    #[test]
    fn faults_beyond_the_limit_are_counted_only() {
        let mut faults = Faults::default();
        let value = Value::Null;
        for _ in 0..FAULTS_MAX + 5 {
            faults.add(&Node::root(&value), "is wrong");
        }
        let (errors, total) = faults.into_errors();
        assert_eq!((errors.len(), total), (FAULTS_MAX, FAULTS_MAX + 5));
    }
}
