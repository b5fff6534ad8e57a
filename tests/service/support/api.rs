use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use feebox::database::Database;
use feebox::http::{self, AppState, HttpServer};
use feebox::settings::{self, Limits, Role, Token};
use feebox::submission::{OutboxRecorder, Submission};
use feebox::worker::Signals;
use reqwest::{Method, RequestBuilder, Response};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use super::{TestDatabase, http_client};

/// The API on a socket and a pool of its own, as `feebox serve` runs it, without a worker. Ends when dropped.
pub struct Api {
    pub db: Database,
    pub signals: Signals,
    pub ended: JoinHandle<()>,
    addr: SocketAddr,
    client: reqwest::Client,
    _guard: DropGuard,
}

impl Api {
    /// Serves `database`, to everybody on loopback.
    pub async fn start(database: &TestDatabase) -> Api {
        Api::start_at(database.url(), &[]).await
    }

    /// Serves the database at `url`, which may be away, to the owners of `tokens`: name, token, role.
    pub async fn start_at(url: &str, tokens: &[(&str, &str, Role)]) -> Api {
        Api::start_by(url, tokens, |listener| HttpServer::new(listener, 10_000)).await
    }

    /// The same by a server that `server` makes of a listener.
    pub async fn start_by(
        url: &str,
        tokens: &[(&str, &str, Role)],
        server: impl FnOnce(TcpListener) -> HttpServer,
    ) -> Api {
        let tokens = tokens.iter().map(|&(name, token, role)| Token {
            name: name.to_owned(),
            sha256: Sha256::digest(token).into(),
            role,
            limits: Limits::default(),
        });
        Api::start_for(url, tokens.collect(), server).await
    }

    /// The same to the owners of these tokens, which may have limits.
    pub async fn start_for(url: &str, tokens: Vec<Token>, server: impl FnOnce(TcpListener) -> HttpServer) -> Api {
        let db = open(url).await;
        let access = settings::Access { tokens };
        let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
        let metrics = feebox::telemetry::install_metrics();
        let signals = Signals::default();
        let state = AppState::new(submission, db.clone(), &access, metrics, &signals);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(state.readiness().keep(signals.drain.clone()));
        let (server, drain) = (server(listener), signals.drain.clone());
        let ended = tokio::spawn(async move { server.serve(http::router(state), drain).await });
        let guard = signals.drain.clone().drop_guard();
        Api { db, signals, ended, addr, client: http_client(), _guard: guard }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.addr))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.unwrap()
    }

    pub async fn post_with_key(&self, path: &str, body: &Value, key: &str) -> Response {
        self.request(Method::POST, path).json(body).header("Idempotency-Key", key).send().await.unwrap()
    }

    /// Submits a right quote and returns it.
    pub async fn submit(&self) -> Value {
        let answer = self.post("/v1/quotes", &a_quote()).await;
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    /// How many rows `table` has.
    pub async fn count(&self, table: &str) -> i64 {
        let connection = self.db.connection();
        let count = Statement::from_string(connection.get_database_backend(), format!("SELECT count(*) FROM {table}"));
        connection.query_one_raw(count).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// How many quotes and events are stored.
    pub async fn stored(&self) -> (i64, i64) {
        (self.count("quote").await, self.count("outbox_event").await)
    }

    pub async fn execute(&self, sql: &str) {
        self.db.connection().execute_unprepared(sql).await.unwrap();
    }
}

/// A quote with nothing wrong: two lines, 26 000 minor units.
pub fn a_quote() -> Value {
    json!({
        "customer_id": "cust-42",
        "currency": "EUR",
        "lines": [
            {"description": "Freight Hamburg – Oslo", "quantity": 2, "unit_price_minor": 12_500},
            {"description": "Insurance", "quantity": 1, "unit_price_minor": 1_000},
        ],
    })
}

/// Opens the database at `url` as Feebox does, with little patience.
pub async fn open(url: &str) -> Database {
    let settings = settings::Database {
        url: url.into(),
        url_file: None,
        max_connections: 8,
        acquire_timeout: Duration::from_secs(5),
        replica: None,
    };
    Database::connect(&settings).await.unwrap()
}
