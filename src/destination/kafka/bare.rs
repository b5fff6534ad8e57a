//! The measure of a backlog's delivery: a producer with the settings of ours and no outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use futures_util::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use super::{KafkaClientError, client, files::Files, producer::Producers, record};
use crate::{destination::Delivery, quotes::QUOTE_SUBMITTED, settings};

/// Sends `count` records of submission with this `payload`, each of a quote of its own, to the topic of quotes. Returns how long that took
/// from the making of the producer until all were acknowledged.
///
/// # Errors
/// The settings are not usable, or a record was not acknowledged.
pub async fn send_bare(
    settings: &settings::Kafka,
    count: usize,
    payload: &Value,
) -> Result<Duration, KafkaClientError> {
    let begun = Instant::now();
    let mut config = client::config(settings, settings.delivery_timeout);
    // Where connections are concerned it is as its library has it.
    config.set("enable.sparse.connections", "true");
    config.set("max.in.flight.requests.per.connection", "5");
    let producer = Producers::new(config, Files::of(settings))?.current();
    let value = payload.to_string();
    let mut under_way = Vec::with_capacity(count);
    for _ in 0..count {
        let quote_id = Uuid::now_v7();
        let delivery = Delivery {
            id: quote_id,
            quote_id,
            event_type: &QUOTE_SUBMITTED,
            payload,
            trace_context: None,
            created_at: Utc::now(),
            outcome_unknown: false,
        };
        let key = quote_id.to_string();
        under_way.push(Arc::clone(&producer).begin(record::new(record::QUOTES, &key, &value, delivery, None))?);
    }
    try_join_all(under_way).await?;
    Ok(begun.elapsed())
}
