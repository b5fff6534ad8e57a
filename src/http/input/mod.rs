//! Reading requests: bytes become JSON, and JSON becomes valid values, or all errors at once.

mod body;
mod fields;
mod json;
mod list;
mod path;
mod query;

pub(super) use body::{Bodies, RawJson, Received};
pub(super) use fields::{FieldError, FieldErrors, Node, Object};
pub(super) use json::{JsonBody, OptionalJsonBody};
pub(super) use path::{Id, Name};
pub(super) use query::{Query, time};
#[cfg(test)]
pub(super) use {json::parse, list::parse_list};
