//! What an event keeps of its delivery: how long it took, and what the destination handed back, for example an HTTP status,
//! or Kafka's partition and offset.

use serde_json::{Map, Value};

use super::{Attempt, Outcome};

/// What a destination hands back for a delivery.
pub trait Receipt {
    /// What its event keeps of it.
    fn kept(&self) -> Map<String, Value> {
        Map::new()
    }

    /// What of it no database can keep, in words of ours that name the field; nothing if all of it can be stored. Whoever
    /// takes an answer in has checked it: this is the last look before it would fail those that are settled with it.
    fn unstorable(&self) -> Option<&'static str> {
        None
    }
}

impl Receipt for () {}

/// What its event keeps of a delivery.
pub(super) fn of<R: Receipt>(attempt: &Attempt<R>) -> Value {
    let mut fields = match &attempt.outcome {
        Outcome::Delivered(receipt) => receipt.kept(),
        _ => Map::new(),
    };
    fields.insert("duration_ms".to_owned(), attempt.took_ms().into());
    Value::Object(fields)
}
