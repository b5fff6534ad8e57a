//! Reading requests: bytes become JSON, and JSON becomes valid values, or all errors at once.

mod fields;
mod json;
mod path;
mod query;

pub(super) use fields::{FieldError, FieldErrors, Node, Object};
pub(super) use json::{JsonBody, OptionalJsonBody};
pub(super) use path::{Id, Name};
pub(super) use query::Query;
