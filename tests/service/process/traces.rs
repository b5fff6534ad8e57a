//! What a collector of OpenTelemetry is told.

use feebox::lab::sample_fee_server::Faults;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{
    Collector, Engine, LIMIT, RawServer, Reply, Signal, Stage, a_quote, attribute, eventually, free_port, hex,
    http_client,
};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

async fn submit(base_url: &str, flags: &str) -> Uuid {
    let call = http_client().post(format!("{base_url}/v1/quotes")).json(&a_quote());
    let call = call.header("traceparent", format!("00-{TRACE_ID}-{CALLER}-{flags}"));
    let quote: Value = call.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    quote["id"].as_str().unwrap().parse().unwrap()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn is_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_holds_the_submission_each_attempt_and_each_call_that_it_made() {
    for engine in Engine::ALL {
        // The first answer is lost, and the fee is looked up.
        let faults = Faults { commit_reset_rate: 1.0, ..Faults::default() };
        let (stage, collector) = (Stage::new(engine, faults).await, Collector::start().await);
        let endpoint = collector.base_url();
        let settings = [("traces.otlp_endpoint", endpoint.as_str())];
        let (serve, base_url) = stage.serve(&settings, &[]).await;
        let worker = stage.worker(&settings).await;
        stage.accept(&[submit(&base_url, "01").await]);
        stage.drained().await;
        for process in [&serve, &worker] {
            process.signal(Signal::Interrupt);
            assert!(process.wait(LIMIT).await.success());
        }
        let spans = collector.spans_of(TRACE_ID);
        let [request] = named(&spans, "POST /v1/quotes")[..] else { panic!("one request: {spans:#?}") };
        assert_eq!((request.kind(), hex(&request.parent_span_id)), (SpanKind::Server, CALLER.to_owned()));
        assert_eq!(attribute(request, "http.response.status_code"), "201");

        let attempts = named(&spans, "deliver fee-server");
        let outcomes: Vec<_> = attempts.iter().map(|span| attribute(span, "feebox.outcome")).collect();
        assert_eq!(outcomes, ["unknown", "delivered"], "{engine:?}");
        for (number, attempt) in attempts.iter().enumerate() {
            assert_eq!((attempt.kind(), &attempt.parent_span_id), (SpanKind::Consumer, &request.span_id));
            assert_eq!(attempt.links.iter().map(|link| &link.span_id).collect::<Vec<_>>(), [&request.span_id]);
            assert_eq!(attribute(attempt, "feebox.attempt"), (number + 1).to_string());
            assert_eq!(is_failed(attempt), number == 0);
            let [call] = &spans.iter().filter(|span| span.parent_span_id == attempt.span_id).collect::<Vec<_>>()[..]
            else {
                panic!("one call: {spans:#?}")
            };
            let expected = [("POST /v1/fees", String::new()), ("GET /v1/fees", "200".to_owned())][number].clone();
            assert_eq!((call.name.as_str(), attribute(call, "http.response.status_code")), expected);
            assert_eq!((call.kind(), is_failed(call)), (SpanKind::Client, number == 0));
        }
        stage.books().await.assert_sound();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fee_server_is_told_the_span_of_the_call_to_it() {
    let (stage, collector) = (Stage::new(Engine::Sqlite, Faults::default()).await, Collector::start().await);
    let fee_server = RawServer::start([Reply::Cut]).await;
    let (endpoint, fees) = (collector.base_url(), fee_server.base_url());
    let settings = [("traces.otlp_endpoint", endpoint.as_str()), ("fee_server.base_url", fees.as_str())];
    let (_serve, base_url) = stage.serve(&settings, &[]).await;
    let worker = stage.worker(&settings).await;
    submit(&base_url, "01").await;
    eventually("a call", LIMIT, async || (!fee_server.requests().is_empty()).then_some(())).await;
    worker.signal(Signal::Terminate);
    assert!(worker.wait(LIMIT).await.success());
    let calls = collector.spans_of(TRACE_ID);
    let call = named(&calls, "POST /v1/fees")[0];
    let told = format!("traceparent: 00-{TRACE_ID}-{}-01", hex(&call.span_id));
    assert!(fee_server.requests()[0].contains(&told), "{told}: {:?}", fee_server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_decides_whether_its_trace_is_recorded_and_a_setting_about_those_that_begin_here() {
    let (stage, collector) = (Stage::new(Engine::Sqlite, Faults::default()).await, Collector::start().await);
    let endpoint = collector.base_url();
    let settings = [("traces.otlp_endpoint", endpoint.as_str()), ("traces.sample_ratio", "0")];
    let (serve, base_url) = stage.serve(&settings, &[]).await;
    let worker = stage.worker(&settings).await;
    submit(&base_url, "00").await;
    stage.drained().await;
    let stored = stage.events().await.remove(0).trace_context.unwrap();
    assert!(stored.starts_with(&format!("00-{TRACE_ID}-")) && stored.ends_with("-00"), "{stored}");
    for process in [&serve, &worker] {
        process.signal(Signal::Interrupt);
        assert!(process.wait(LIMIT).await.success());
    }
    assert_eq!(collector.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_nothing_but_its_spans() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let settings = [("traces.otlp_endpoint", endpoint.as_str())];
    let (serve, base_url) = stage.serve(&settings, &[]).await;
    let _worker = stage.worker(&settings).await;
    submit(&base_url, "01").await;
    stage.drained().await;
    serve.signal(Signal::Interrupt);
    assert!(serve.wait(LIMIT).await.success());
    serve.wait_for_line(LIMIT, |line| line.contains("the collector takes no spans")).await;
}
