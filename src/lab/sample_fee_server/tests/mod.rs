//! The server as its clients see it, over real sockets.

mod faults;
mod promises;

use std::time::Duration;

use axum::http::StatusCode;
use reqwest::{Client, Response, redirect};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Faults, SampleFeeServer};

/// Long enough to tell early from late, short enough for a test.
const MOMENT: Duration = Duration::from_millis(100);

/// Long enough that the server does not answer at once.
const BLINK: Duration = Duration::from_millis(10);

struct Setup {
    server: SampleFeeServer,
    client: Client,
}

impl Setup {
    async fn with(faults: Faults) -> Self {
        // Fails if another test installed it first, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await.expect("a free port");
        // A redirect is one of the server's answers and must not be followed.
        let client = Client::builder().redirect(redirect::Policy::none()).build().expect("a client");
        Self { server, client }
    }

    async fn ask(&self, key: &str, quote_id: Uuid) -> reqwest::Result<Response> {
        let url = format!("{}/v1/fees", self.server.base_url());
        self.client.post(url).header("Idempotency-Key", key).json(&body(quote_id)).send().await
    }

    async fn fee(&self, key: &str, quote_id: Uuid) -> (StatusCode, Value) {
        let response = self.ask(key, quote_id).await.expect("answered");
        (response.status(), response.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.client.get(self.server.base_url() + path).send().await.expect("answered");
        (response.status(), response.json().await.expect("JSON"))
    }

    async fn void(&self, quote_id: Uuid) -> StatusCode {
        let url = format!("{}/v1/fees/void", self.server.base_url());
        self.client.post(url).json(&json!({ "quote_id": quote_id })).send().await.expect("answered").status()
    }
}

fn body(quote_id: Uuid) -> Value {
    json!({
        "quote_id": quote_id,
        "customer_id": "customer",
        "currency": "EUR",
        "amount_minor": 10_000,
        "submitted_at": "2026-01-01T00:00:00Z",
    })
}
