//! A fee server with a limited number of places. It refuses further calls at once, and can be made to refuse all.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing};
use serde_json::{Value, json};

/// It runs until the process ends.
pub struct LimitedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    latency: Duration,
    places: usize,
    taken: AtomicUsize,
    fees: AtomicUsize,
    refused: AtomicUsize,
    fails: AtomicBool,
}

impl LimitedServer {
    pub async fn start(latency: Duration, places: usize) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            latency,
            places,
            taken: AtomicUsize::new(0),
            fees: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
        });
        let router = Router::new().route("/v1/fees", routing::post(make).get(look_up)).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fees made, and calls refused.
    pub fn counts(&self) -> (usize, usize) {
        (self.shared.fees.load(Relaxed), self.shared.refused.load(Relaxed))
    }

    pub fn fail(&self, fails: bool) {
        self.shared.fails.store(fails, Relaxed);
    }

    pub async fn wait_for_fees(&self, fees: usize) {
        while self.counts().0 < fees {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn make(State(shared): State<Arc<Shared>>, Json(quote): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let taken = shared.taken.fetch_add(1, Relaxed);
    if shared.fails.load(Relaxed) || taken >= shared.places {
        shared.taken.fetch_sub(1, Relaxed);
        shared.refused.fetch_add(1, Relaxed);
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    tokio::time::sleep(shared.latency).await;
    shared.taken.fetch_sub(1, Relaxed);
    let number = shared.fees.fetch_add(1, Relaxed);
    Ok(Json(json!({
        "fee_id": format!("fee-{number}"),
        "quote_id": quote["quote_id"],
        "currency": quote["currency"],
        "amount_minor": 100,
        "rate_bps": 10,
        "calculated_at": chrono::Utc::now().to_rfc3339(),
    })))
}

async fn look_up() -> Json<Value> {
    Json(json!({ "fees": [] }))
}
