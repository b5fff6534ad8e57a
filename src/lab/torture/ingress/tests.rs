//! What a client gets through the ingress.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

struct Stage {
    fee_server: SampleFeeServer,
    ingress: Ingress,
    client: Client,
}

impl Stage {
    async fn open() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), Faults::default()).await.expect("a port");
        let ingress = Ingress::start(&fee_server.base_url()).expect("a port");
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { fee_server, ingress, client: client.expect("a client") }
    }

    async fn fee(&self, customer: &str) -> reqwest::Result<Response> {
        let body = json!({
            "quote_id": Uuid::now_v7(), "customer_id": customer, "currency": "EUR", "amount_minor": 100,
            "submitted_at": "2026-01-01T00:00:00Z",
        });
        self.client.post(format!("{}/v1/fees", self.ingress.base_url())).json(&body).send().await
    }

    async fn list(&self) -> reqwest::Result<Response> {
        self.client.get(format!("{}/v1/fees", self.ingress.base_url())).send().await
    }
}

#[tokio::test]
async fn by_default_calls_are_forwarded() {
    let stage = Stage::open().await;
    for _ in 0..2 {
        let answer = stage.fee("ann").await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(answer.json::<Value>().await.expect("JSON")["fee_id"].is_string());
    }
    let list: Value = stage.list().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(list["fees"].as_array().map(Vec::len), Some(2));
    assert_eq!((stage.fee_server.stats().fees, stage.ingress.tally().calls), (2, 3));
}

#[tokio::test]
async fn a_page_answers_every_call() {
    let stage = Stage::open().await;
    for page in Page::ALL {
        stage.ingress.change(|mode| mode.page = Some(page));
        let answers = [stage.fee("ann").await, stage.list().await].map(|answer| answer.expect("an answer").status());
        assert_eq!(answers[0], answers[1]);
        assert_ne!(answers[0], StatusCode::CREATED);
    }
    assert_eq!(stage.fee_server.stats().fees, 0);
}

#[tokio::test]
async fn calls_that_change_something_are_throttled() {
    let stage = Stage::open().await;
    stage.ingress.change(|mode| mode.retry_after = Some(2));
    let answer = stage.fee("ann").await.expect("an answer");
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"2".parse().expect("2"))
    );
    assert_eq!(stage.list().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn poison_gets_its_own_answer_and_leaves_no_fee() {
    let stage = Stage::open().await;
    stage.ingress.change(|mode| mode.poison = true);
    for kind in KINDS {
        let answer = stage.fee(&format!("{POISON}{kind}-1")).await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!([201, 403, 422, 500].contains(&status.as_u16()), "{kind}: {status} {text}");
    }
    assert_eq!(stage.fee("ann").await.expect("an answer").status(), StatusCode::CREATED);
    assert_eq!(stage.fee_server.stats().fees, 1);
}

#[tokio::test]
async fn a_cut_answer_is_never_complete_but_its_fee_is_made() {
    let stage = Stage::open().await;
    stage.ingress.change(|mode| mode.cut_rate = 1.0);
    for _ in 0..20 {
        let answer = stage.fee("ann").await.expect("a head");
        let whole = answer.status() == StatusCode::CREATED && answer.json::<Value>().await.is_ok();
        assert!(!whole);
    }
    assert_eq!((stage.fee_server.stats().fees, stage.ingress.tally().cut), (20, 20));
}

#[tokio::test]
async fn a_shut_ingress_refuses_connections_and_reopens_on_the_same_port() {
    let stage = Stage::open().await;
    for _ in 0..2 {
        assert!(stage.fee("ann").await.is_ok());
        stage.ingress.shut().await.expect("a port");
        assert!(stage.fee("ann").await.expect_err("refused").is_connect());
        stage.ingress.open().await.expect("a port");
    }
}

#[tokio::test]
async fn without_its_server_the_ingress_answers_502() {
    let stage = Stage::open().await;
    stage.fee_server.down().await.expect("a port");
    assert_eq!(stage.fee("ann").await.expect("an answer").status(), StatusCode::BAD_GATEWAY);
}
