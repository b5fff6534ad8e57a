//! How a bulk keeps which events it is about.

use chrono::{DateTime, Utc};
use sea_orm::ActiveEnum;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Which;
use crate::{inspection::EventFilter, outbox::EventStatus};

/// As it is stored and shown. What is not given is left out.
pub(super) fn to_json(which: &Which) -> Value {
    let filter = match which {
        Which::Ids(ids) => return json!({ "ids": ids }),
        Which::Matching(filter) => filter,
    };
    let mut all = json!({
        "status": filter.status.map(|status| status.to_value()),
        "destination": filter.destination,
        "event_type": filter.event_type,
        "quote_id": filter.quote_id,
        "customer_id": filter.customer_id,
        "cause": filter.cause,
        "error_contains": filter.error_contains,
        "created_after": filter.created_after,
        "created_before": filter.created_before,
        "settled_after": filter.settled_after,
        "settled_before": filter.settled_before,
    });
    if let Some(all) = all.as_object_mut() {
        all.retain(|_, value| !value.is_null());
    }
    all
}

/// What was stored.
pub(super) fn from_json(stored: &Value) -> Which {
    let id = |value: &Value| Uuid::try_parse(value.as_str()?).ok();
    if let Some(ids) = stored.get("ids").and_then(Value::as_array) {
        return Which::Ids(ids.iter().filter_map(id).collect());
    }
    let text = |name: &str| stored.get(name).and_then(Value::as_str).map(str::to_owned);
    let time = |name: &str| stored.get(name)?.as_str()?.parse::<DateTime<Utc>>().ok();
    Which::Matching(Box::new(EventFilter {
        status: text("status").and_then(|status| EventStatus::try_from_value(&status).ok()),
        destination: text("destination"),
        event_type: text("event_type"),
        quote_id: stored.get("quote_id").and_then(id),
        customer_id: text("customer_id"),
        cause: text("cause"),
        error_contains: text("error_contains"),
        created_after: time("created_after"),
        created_before: time("created_before"),
        settled_after: time("settled_after"),
        settled_before: time("settled_before"),
        before: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_it_was_stored() {
        let filter = EventFilter {
            status: Some(EventStatus::Dead),
            destination: Some("fee-server".into()),
            event_type: Some("quote.submitted".into()),
            quote_id: Some(Uuid::now_v7()),
            customer_id: Some("ada".into()),
            cause: Some("refused 422: no".into()),
            error_contains: Some("no".into()),
            created_after: Some(DateTime::<Utc>::UNIX_EPOCH),
            created_before: Some(DateTime::<Utc>::UNIX_EPOCH),
            settled_after: Some(DateTime::<Utc>::UNIX_EPOCH),
            settled_before: Some(DateTime::<Utc>::UNIX_EPOCH),
            before: None,
        };
        let stored = to_json(&Which::Matching(Box::new(filter.clone())));
        assert_eq!(stored.as_object().map(serde_json::Map::len), Some(11));
        let Which::Matching(read) = from_json(&stored) else { panic!("a filter") };
        assert_eq!(format!("{read:?}"), format!("{filter:?}"));
        let ids = vec![Uuid::now_v7(), Uuid::now_v7()];
        assert!(matches!(from_json(&to_json(&Which::Ids(ids.clone()))), Which::Ids(read) if read == ids));
    }
}
