//! What an event keeps of its delivery: how long it took, and what the destination returned, for example an HTTP status, or
//! Kafka's partition and offset.

use serde_json::{Map, Value};

use super::{Attempt, Outcome};

/// What a destination returns for a delivery.
pub trait Receipt {
    /// What its event keeps of it.
    fn kept(&self) -> Map<String, Value> {
        Map::new()
    }

    /// The reason why a database cannot store it, naming the field; `None` if it can be stored. Destinations check their
    /// answers already. This is the last check before one answer would fail all that are settled with it.
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
