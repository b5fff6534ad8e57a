//! What a consumer reads.

use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::Status;
use feebox::quotes::KAFKA;
use feebox::timeline::{TimelineEntry, TimelineEvent, timeline};
use reqwest::Method;
use serde_json::{Value, json};

use super::{FEES, PATIENT, QUOTES, Record, Relayed, TRACE, read, read_of};
use crate::support::{Process, Server, eventually, fee_server, free_port, http_client, with_fee, worker_settings};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_and_its_fee_reach_kafka_as_cloud_events_in_binary_mode() {
    let brokers = Server::shared_kafka().url();
    let relayed = Relayed::to(brokers, PATIENT).await;
    let quote = relayed.submit(1).await[0];
    let event = relayed.outbox.claim("a", 1).await.remove(0);
    let telling = fee_server().relaying(relayed.relay());
    relayed.outbox.settle_at(&telling, "a", &[with_fee(&event)]).await;
    assert_eq!(relayed.worker().run_once().await.unwrap().delivered, 2);

    let timeline = timeline(&relayed.outbox.db, quote).await.unwrap().unwrap();
    let mut told = relayed.outbox.events_of(quote).await;
    told.retain(|event| event.destination == KAFKA);
    for (event, topic) in told.iter().zip([QUOTES, FEES]) {
        let read = read_of(brokers, topic, [&quote]).remove(&quote).unwrap();
        let [record] = &read[..] else { panic!("one record in {topic}: {read:?}") };
        assert_eq!(record.payload, event.payload);
        let kept = event.receipt.as_ref().unwrap();
        let place = [&kept["topic"], &kept["partition"], &kept["offset"]];
        assert_eq!(place, [&json!(topic), &json!(record.partition), &json!(record.offset)]);
        let in_timeline = |entry: &TimelineEntry| match &entry.event {
            TimelineEvent::Delivered { event_id, duration_ms, receipt, .. } => {
                let place = json!({ "topic": topic, "partition": record.partition, "offset": record.offset });
                *event_id == event.id && *duration_ms == kept["duration_ms"].as_u64() && *receipt == Some(place)
            }
            _ => false,
        };
        assert!(timeline.iter().any(in_timeline), "{timeline:#?}");
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event.id.to_string()),
            ("ce_type", event.event_type.clone()),
            ("ce_source", "feebox".to_owned()),
            ("ce_subject", quote.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        for (name, value) in headers {
            assert_eq!(record.headers[name], value, "{name}");
        }
        let time: chrono::DateTime<chrono::Utc> = record.headers["ce_time"].parse().unwrap();
        assert_eq!(time, event.created_at);
        // The same trace, in a span of its own.
        assert_eq!(record.headers["traceparent"][..36], TRACE[..36]);
        assert_ne!(record.headers["traceparent"], TRACE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_binary_relays_what_becomes_of_a_quote() {
    let broker = Server::shared_kafka();
    let (api, fees) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let _fee_server = Process::start(&["fee-server", "--bind", &fees, "--latency", "1ms"], &[]);
    let env = [
        ("FEEBOX__SERVER__BIND", api.as_str()),
        ("FEEBOX__FEE_SERVER__BASE_URL", &format!("http://{fees}")),
        ("FEEBOX__KAFKA__BROKERS", broker.url()),
        ("FEEBOX__RETRY__INITIAL_INTERVAL", "100ms"),
    ];
    let feebox = Process::start(&["dev"], &env);
    let base = format!("http://{api}");
    feebox.wait_ready(&base, LIMIT).await;
    let call = async |method: Method, path: &str, body: Value| -> Value {
        let request = http_client().request(method, format!("{base}{path}")).json(&body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let line = json!({ "description": "a thing", "quantity": 1, "unit_price_minor": 100 });
    let body = json!({ "customer_id": "c", "currency": "EUR", "lines": [line] });
    let quote = call(Method::POST, "/v1/quotes", body).await["id"].as_str().unwrap().to_owned();
    let confirmed = call(Method::GET, &format!("/v1/quotes/{quote}?wait=10"), Value::Null).await;
    assert_eq!(confirmed["status"], "confirmed");
    call(Method::POST, &format!("/v1/quotes/{quote}/cancel"), json!({})).await;

    let types = eventually("all is told", LIMIT, async || {
        let types = |topic| -> Vec<String> {
            read(broker.url(), topic).iter().filter(|record| record.key == quote).map(event_type).collect()
        };
        let of_quote = types(QUOTES);
        (of_quote.len() == 2).then(|| (of_quote, types(FEES)))
    })
    .await;
    assert_eq!(types.0, ["quote.submitted", "quote.cancelled"]);
    assert_eq!(types.1, ["fee.created"]);
    let metrics = http_client().get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    let delivered = r#"feebox_deliveries_total{destination="kafka",outcome="delivered"} 3"#;
    assert!(metrics.contains(delivered), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_quotes_arrive_in_their_order_from_two_workers() {
    let brokers = Server::shared_kafka().url();
    let relayed = Relayed::to(brokers, PATIENT).await;
    let recorded = relayed.record(60).await;
    let other = relayed.outbox.worker("b", &Arc::clone(&relayed.kafka), worker_settings());
    let (one, two) = tokio::join!(async { relayed.worker().run_once().await }, other.run_once());
    assert!(one.is_ok() && two.is_ok());
    relayed.run_to_the_end().await;
    assert_eq!(relayed.with_status(Status::Delivered).await.len(), 180);
    let read = read_of(brokers, QUOTES, recorded.keys());
    for (quote, events) in recorded {
        assert_eq!(super::ids(&read[&quote]), events);
    }
}

fn event_type(record: &Record) -> String {
    record.headers["ce_type"].clone()
}
