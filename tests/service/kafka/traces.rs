//! What a collector of OpenTelemetry is told of records.

use feebox::lab::sample_fee_server::Faults;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use super::{FEES, QUOTES, TRACE, read_of};
use crate::support::{Collector, Engine, LIMIT, Server, Signal, Stage, a_quote, hex, http_client};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_kafka_carries_the_span_that_published_it() {
    let brokers = Server::shared_kafka().url();
    let (stage, collector) = (Stage::new(Engine::Sqlite, Faults::default()).await, Collector::start().await);
    let endpoint = collector.base_url();
    let settings = [("traces.otlp_endpoint", endpoint.as_str()), ("kafka.brokers", brokers), ("worker.lease", "30s")];
    let (serve, base_url) = stage.serve(&settings, &[]).await;
    let worker = stage.worker(&settings).await;
    let call = http_client().post(format!("{base_url}/v1/quotes")).json(&a_quote()).header("traceparent", TRACE);
    let quote: Value = call.send().await.unwrap().json().await.unwrap();
    // The news of the fee is stored together with the fee, so that nothing waits any more only when both are told.
    stage.drained().await;
    for process in [&serve, &worker] {
        process.signal(Signal::Interrupt);
        assert!(process.wait(LIMIT).await.success());
    }
    let spans = collector.spans_of(&TRACE[3..35]);
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let attempts: Vec<_> = named("deliver kafka").into_iter().map(|span| span.span_id.clone()).collect();
    for topic in [QUOTES, FEES] {
        let [record] = named(&format!("publish {topic}"))[..] else { panic!("one record: {spans:#?}") };
        assert_eq!(record.kind(), SpanKind::Producer);
        assert!(attempts.contains(&record.parent_span_id), "{spans:#?}");
        let id = quote["id"].as_str().unwrap().parse().unwrap();
        let read = read_of(brokers, topic, [&id]).remove(&id).unwrap();
        assert_eq!(read[0].headers["traceparent"], format!("{}{}-01", &TRACE[..36], hex(&record.span_id)));
    }
}
