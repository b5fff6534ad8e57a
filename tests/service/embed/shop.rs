use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;

/// What keeps a second call from making a second order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The shop honours idempotency keys and answers no look-ups.
    Keys,
    /// It ignores keys, and says which orders it has.
    LookUps,
}

/// The remote end of the orders service.
pub struct Shop {
    base_url: String,
    book: Book,
}

/// An order as the shop made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub number: String,
    pub key: String,
    pub order: String,
}

#[derive(Clone)]
struct Book {
    protection: Protection,
    made: Arc<Mutex<Vec<Made>>>,
}

impl Shop {
    pub async fn open(protection: Protection) -> Shop {
        let book = Book { protection, made: Arc::default() };
        let routes = Router::new().route("/orders", post(take)).route("/orders/{order}", get(look_up));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let routes = routes.with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Shop { base_url, book }
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// In the order in which it made them.
    pub fn made(&self) -> Vec<Made> {
        self.book.made.lock().unwrap().clone()
    }

    /// The number of each order; one that was made twice fails the test.
    pub fn numbers(&self) -> BTreeMap<String, String> {
        let made = self.made();
        let numbers: BTreeMap<_, _> = made.iter().map(|made| (made.order.clone(), made.number.clone())).collect();
        assert_eq!(numbers.len(), made.len(), "an order was made twice: {made:?}");
        numbers
    }
}

async fn take(State(book): State<Book>, headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, String) {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut made = book.made.lock().unwrap();
    if let Some(known) = made.iter().find(|made| book.protection == Protection::Keys && made.key == key) {
        return (StatusCode::OK, known.number.clone());
    }
    let number = format!("A-{}", made.len() + 1);
    made.push(Made { number: number.clone(), key, order: body["order"].as_str().unwrap().to_owned() });
    (StatusCode::CREATED, number)
}

async fn look_up(State(book): State<Book>, Path(order): Path<String>) -> (StatusCode, String) {
    let made = book.made.lock().unwrap();
    let found = made.iter().find(|made| book.protection == Protection::LookUps && made.order == order);
    found.map_or((StatusCode::NOT_FOUND, String::new()), |made| (StatusCode::OK, made.number.clone()))
}
