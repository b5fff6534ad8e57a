//! A fee server of the benchmark's own: it has so many places, refuses the rest at once, and can be switched off.

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

/// It ends with the process.
pub struct OwnServer {
    address: SocketAddr,
    house: Arc<House>,
}

struct House {
    latency: Duration,
    places: usize,
    taken: AtomicUsize,
    fees: AtomicUsize,
    refused: AtomicUsize,
    fails: AtomicBool,
}

impl OwnServer {
    pub async fn start(latency: Duration, places: usize) -> anyhow::Result<Self> {
        let house = Arc::new(House {
            latency,
            places,
            taken: AtomicUsize::new(0),
            fees: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
        });
        let router = Router::new().route("/v1/fees", routing::post(make).get(look_up)).with_state(Arc::clone(&house));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, house })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fees made, and calls refused.
    pub fn counts(&self) -> (usize, usize) {
        (self.house.fees.load(Relaxed), self.house.refused.load(Relaxed))
    }

    pub fn fail(&self, fails: bool) {
        self.house.fails.store(fails, Relaxed);
    }

    pub async fn wait_for_fees(&self, fees: usize) {
        while self.counts().0 < fees {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn make(State(house): State<Arc<House>>, Json(quote): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let taken = house.taken.fetch_add(1, Relaxed);
    if house.fails.load(Relaxed) || taken >= house.places {
        house.taken.fetch_sub(1, Relaxed);
        house.refused.fetch_add(1, Relaxed);
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    tokio::time::sleep(house.latency).await;
    house.taken.fetch_sub(1, Relaxed);
    let number = house.fees.fetch_add(1, Relaxed);
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
