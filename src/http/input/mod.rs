//! What clients send, before it means anything: bytes become JSON, JSON becomes parts that can't be wrong, or every fault
//! at once.

mod fields;
mod json;
mod path;
mod query;

pub(super) use fields::{Fault, Faults, Node};
pub(super) use json::{JsonBody, OptionalJsonBody};
pub(super) use path::Id;
pub(super) use query::Query;
