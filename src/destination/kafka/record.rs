//! An event as a Kafka record: a `CloudEvent` in binary mode.
//!
//! Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2.

use chrono::SecondsFormat;
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::FutureRecord,
};

use crate::{destination::Delivery, outbox::EventType, quotes::QuoteEvent, telemetry::TraceContext};

/// The topic of quotes.
pub(super) const QUOTES: &str = "feebox.quotes";
/// The topic of fees.
const FEES: &str = "feebox.fees";
/// All topics.
pub(super) const TOPICS: [&str; 2] = [QUOTES, FEES];
/// The attribute `source`.
pub(super) const SOURCE: &str = "feebox";

/// The topic for events of `event_type`.
pub(super) fn topic(event_type: &EventType) -> Option<&'static str> {
    QuoteEvent::of(event_type).map(|event| match event {
        QuoteEvent::Submitted | QuoteEvent::Rejected | QuoteEvent::Cancelled => QUOTES,
        QuoteEvent::FeeCreated => FEES,
    })
}

/// The record of `delivery`, as part of `trace`. Its key is the quote's id, so that all records of a quote share a partition of the topic.
pub(super) fn new<'a>(
    topic: &'a str,
    key: &'a str,
    value: &'a str,
    delivery: Delivery<'_>,
    trace: Option<&TraceContext>,
) -> FutureRecord<'a, str, str> {
    FutureRecord::to(topic).key(key).payload(value).headers(headers(key, delivery, trace))
}

fn headers(quote_id: &str, delivery: Delivery<'_>, trace: Option<&TraceContext>) -> OwnedHeaders {
    let (id, time) = (delivery.id.to_string(), delivery.created_at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let trace = trace.map(TraceContext::header);
    let attributes = [
        ("ce_specversion", Some("1.0")),
        ("ce_id", Some(&id)),
        ("ce_type", Some(delivery.event_type)),
        ("ce_source", Some(SOURCE)),
        ("ce_subject", Some(quote_id)),
        ("ce_time", Some(&time)),
        ("content-type", Some("application/json")),
        ("traceparent", trace.as_deref()),
    ];
    attributes
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| Header { key, value: Some(value) }))
        .fold(OwnedHeaders::new_with_capacity(8), OwnedHeaders::insert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotes::TOPICS;

    #[test]
    fn each_topic_has_a_circuit_that_is_named_after_it() {
        for lane in &TOPICS {
            for event_type in lane.event_types {
                assert_eq!(topic(event_type).map(|topic| format!("kafka/{topic}")), Some(lane.name.to_string()));
            }
        }
        let taken: usize = TOPICS.iter().map(|lane| lane.event_types.len()).sum();
        assert_eq!(taken, 4, "all types have a topic");
    }
}
