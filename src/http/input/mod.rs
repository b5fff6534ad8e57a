//! What clients send, before it means anything: bytes become JSON, JSON becomes parts that can't be wrong, or every fault
//! at once.

mod fields;
mod json;
mod path;
mod query;
mod text;

pub(super) use fields::{Fault, Faults, Node, Object};
pub(super) use json::{JsonBody, OptionalJsonBody};
pub(super) use path::{Id, Name};
pub(super) use query::Query;
