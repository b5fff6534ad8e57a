//! What the answers of the fee server do to events, quotes and the circuit: section 3 of the contract, from end to end. What
//! each single answer means is shown by `fee_server_table`.

use std::sync::Arc;

use entity::{outbox_event, quote};
use feebox::destination::FeeServer;
use feebox::settings::{Settings, Sources};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Engine, RawServer, Reply, TestOutbox, free_port, http_client, worker_settings};

use outbox_event::Status::{Dead, Delivered, Pending};
use quote::Status as Quote;

/// What became of a quote's event by one attempt.
struct Attempted {
    outbox: TestOutbox,
    event: outbox_event::Model,
    quote: quote::Model,
    server: RawServer,
}

async fn attempt(outbox: TestOutbox, server: RawServer, base_url: &str) -> Attempted {
    // Its first call installs what TLS needs.
    let _ = http_client();
    let settings = [("fee_server.base_url", base_url), ("fee_server.timeout", "300ms"), ("fee_server.token", "sesame")];
    let settings = Settings::load(&Sources::overrides(settings)).unwrap();
    let destination = Arc::new(FeeServer::new(&settings.fee_server, 8).unwrap());
    let worker = outbox.worker("w", &destination, worker_settings());
    worker.run_once().await.unwrap();
    let event = outbox.events().await.remove(0);
    let quote = outbox.quote(event.aggregate_id).await;
    Attempted { outbox, event, quote, server }
}

/// Submits a quote and lets a worker make one attempt at a server that replies with `reply` of the quote's id.
async fn answered(reply: impl FnOnce(Uuid) -> Reply) -> Attempted {
    let outbox = TestOutbox::open(Engine::Sqlite).await;
    let event = outbox.submit(1).await.remove(0);
    let quote_id = outbox.event(event).await.aggregate_id;
    let server = RawServer::start([reply(quote_id)]).await;
    let base_url = server.base_url();
    attempt(outbox, server, &base_url).await
}

async fn status(status: u16, headers: &'static [&'static str]) -> Attempted {
    answered(|_| Reply::Answer(status, headers, "{\"title\": \"no\"}".into())).await
}

const JSON: &[&str] = &["content-type: application/problem+json"];

fn a_fee(quote_id: Uuid) -> serde_json::Value {
    json!({ "fee_id": "fee-1", "quote_id": quote_id, "currency": "EUR", "amount_minor": 63, "rate_bps": 250,
            "calculated_at": "2026-11-22T10:00:00Z" })
}

async fn fee_with(field: &'static str, value: serde_json::Value) -> Attempted {
    answered(move |quote_id| {
        let mut fee = a_fee(quote_id);
        fee[field] = value;
        Reply::Answer(200, &[], fee.to_string())
    })
    .await
}

#[tokio::test]
async fn a_fee_is_taken_with_200_and_with_201() {
    for status in [200, 201] {
        let attempted = answered(|quote_id| Reply::Answer(status, &[], a_fee(quote_id).to_string())).await;
        assert_eq!((attempted.event.status, attempted.quote.status), (Delivered, Quote::Confirmed));
        let records = attempted.outbox.fee_records().await;
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].fee_id.as_str(), records[0].amount_minor, records[0].rate_bps), ("fee-1", 63, 250));
    }
}

#[tokio::test]
async fn a_fee_server_gets_the_quote_the_key_the_token_and_the_trace() {
    let attempted = answered(|quote_id| Reply::Answer(201, &[], a_fee(quote_id).to_string())).await;
    let request = attempted.server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/fees http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nidempotency-key: {}\r\n", attempted.event.id)), "{head}");
    assert!(head.contains("\r\nauthorization: bearer sesame\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let quote = &attempted.quote;
    let told = json!({ "quote_id": quote.id, "customer_id": quote.customer_id, "currency": "EUR", "amount_minor": 2_500,
                       "submitted_at": quote.submitted_at });
    assert_eq!(body, told);
}

#[tokio::test]
async fn another_body_than_a_fee_of_this_quote_is_dead_and_leaves_the_quote_pending() {
    let attempts = [
        answered(|_| Reply::Answer(201, &[], "{}".into())).await,
        fee_with("quote_id", json!(Uuid::now_v7())).await,
        fee_with("currency", json!("USD")).await,
        fee_with("fee_id", json!("a\u{0}b")).await,
        fee_with("calculated_at", json!("0001-01-01T00:00:00Z")).await,
    ];
    for attempted in attempts {
        let error = attempted.event.last_error.as_deref().unwrap();
        assert_eq!((attempted.event.status, attempted.quote.status), (Dead, Quote::Pending), "{error}");
        assert!(attempted.event.outcome_unknown, "the fee may exist: {error}");
        assert!(attempted.outbox.fee_records().await.is_empty(), "{error}");
        assert!(error.chars().count() <= 500 && !error.contains(char::is_control), "an excerpt: {error}");
    }
}

#[tokio::test]
async fn a_refusal_is_dead_and_rejects_the_quote() {
    for refusal in [400, 413, 418, 422, 451] {
        let attempted = status(refusal, JSON).await;
        assert_eq!((attempted.event.status, attempted.quote.status), (Dead, Quote::Rejected), "{refusal}");
        assert!(attempted.quote.status_reason.unwrap().starts_with(&refusal.to_string()));
    }
}

#[tokio::test]
async fn a_page_of_something_in_between_kills_and_rejects_nothing() {
    for (page, unknown) in [(200, true), (204, true), (302, false), (404, false), (405, false), (422, false)] {
        let attempted = answered(|_| Reply::Answer(page, &["content-type: text/html"], "<h1>nginx</h1>".into())).await;
        assert_eq!((attempted.event.status, attempted.quote.status), (Pending, Quote::Pending), "{page}");
        assert_eq!((attempted.event.attempts, attempted.event.outcome_unknown), (0, unknown), "{page}");
        assert_eq!(attempted.outbox.fee_server().await.consecutive_failures, 1, "it counts for the circuit: {page}");
    }
}

#[tokio::test]
async fn refused_credentials_open_the_circuit_and_kill_nothing() {
    for refusal in [401, 407] {
        let attempted = status(refusal, &[]).await;
        assert_eq!((attempted.event.status, attempted.event.attempts), (Pending, 0), "{refusal}");
        assert_eq!(attempted.outbox.fee_server().await.circuit, entity::destination::Circuit::Open, "{refusal}");
        assert_eq!(attempted.quote.status, Quote::Pending, "{refusal}");
    }
}

#[tokio::test]
async fn a_retry_after_holds_all_events_back_and_spends_no_attempt() {
    for answer in [status(429, &["retry-after: 120"]).await, status(503, &["Retry-After: 120"]).await] {
        assert_eq!((answer.event.status, answer.event.attempts), (Pending, 0));
        let wait = answer.outbox.fee_server().await.not_before.unwrap() - answer.outbox.now().await;
        assert!((100..=120).contains(&wait.num_seconds()), "{wait}");
    }
}

#[tokio::test]
async fn a_retry_after_may_be_a_date() {
    let in_two_minutes = (chrono::Utc::now() + chrono::TimeDelta::minutes(2)).format("%a, %d %b %Y %H:%M:%S GMT");
    let header: &'static str = format!("retry-after: {in_two_minutes}").leak();
    let headers: &'static [&'static str] = vec![header].leak();
    let answer = status(503, headers).await;
    let wait = answer.outbox.fee_server().await.not_before.unwrap() - answer.outbox.now().await;
    assert!((90..=120).contains(&wait.num_seconds()), "{wait}");
}

#[tokio::test]
async fn a_call_without_effect_is_tried_again_without_a_look_up() {
    for retriable in [425, 429, 501] {
        let attempted = status(retriable, &[]).await;
        assert_eq!((attempted.event.status, attempted.event.attempts), (Pending, 1), "{retriable}");
        assert!(!attempted.event.outcome_unknown, "{retriable}");
    }
}

#[tokio::test]
async fn a_call_to_a_server_that_does_not_run_or_resolve_has_no_effect() {
    for base_url in [format!("http://127.0.0.1:{}", free_port()), "http://fees.invalid".into()] {
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        outbox.submit(1).await;
        let attempted = attempt(outbox, RawServer::start([Reply::Cut]).await, &base_url).await;
        assert_eq!((attempted.event.status, attempted.event.attempts), (Pending, 1), "{base_url}");
        assert!(!attempted.event.outcome_unknown, "{base_url}");
    }
}

#[tokio::test]
async fn what_was_sent_and_got_no_answer_is_unknown() {
    let page = |status| Reply::Answer(status, &[], String::new());
    for reply in [Reply::Cut, Reply::Hang, page(408), page(409), page(500), page(502), page(503), page(504)] {
        let attempted = answered(|_| reply.clone()).await;
        assert_eq!((attempted.event.status, attempted.event.attempts), (Pending, 1), "{reply:?}");
        assert!(attempted.event.outcome_unknown, "{reply:?}");
    }
}
