//! Clients that are slow, silent or many cost the others nothing.

use std::time::{Duration, Instant};

use feebox::http::{HttpServer, Timers};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Api, Engine, TestDatabase, eventually, http_client};

const LIMIT: Duration = Duration::from_mins(1);
/// Each of them ends the wait of a client long before `LIMIT`.
const SHORT: Timers =
    Timers { head: Duration::from_millis(500), idle: Duration::from_secs(1), write: Duration::from_secs(1) };

async fn api_of(server: impl FnOnce(tokio::net::TcpListener) -> HttpServer) -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_by(database.url(), &[], server).await;
    (database, api)
}

/// A connection on which `text` was sent.
async fn client(api: &Api, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(api.addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything that comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = vec![];
    // A reset ends it as well.
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
    String::from_utf8_lossy(&rest).into_owned()
}

async fn closed_for(api: &Api, why: &str) -> f64 {
    let page = api.get("/metrics").await.text().await.unwrap();
    let name = format!("feebox_connections_closed_total{{why=\"{why}\"}}");
    page.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn half_a_head_and_an_idle_connection_are_closed() {
    let (_database, api) = api_of(|listener| HttpServer::new(listener, 100).with_timers(SHORT)).await;
    assert_eq!(rest(&mut client(&api, "").await).await, "");
    assert_eq!(rest(&mut client(&api, "GET /healthz HTTP/1.1\r\nhost: a\r\nx-part").await).await, "");
    let answer = rest(&mut client(&api, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The second request on a connection is watched as the first.
    let two = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /hea";
    assert_eq!(rest(&mut client(&api, two).await).await.matches("200 OK").count(), 2);
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_cut_off() {
    let (_database, api) = api_of(|listener| HttpServer::new(listener, 100).with_timers(SHORT)).await;
    // Far more than the buffers of both sides hold.
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: a\r\n\r\n";
    let _deaf = client(&api, &request.repeat(20)).await;
    eventually("the client is cut off", LIMIT, async || (closed_for(&api, "write").await > 0.0).then_some(())).await;
}

#[tokio::test]
async fn idle_and_half_headed_connections_make_room_for_new_ones() {
    let (_database, api) = api_of(|listener| HttpServer::new(listener, 16)).await;
    let mut silent = vec![];
    for number in 0..60 {
        silent.push(client(&api, if number % 2 == 0 { "" } else { "GET /v1/quotes HTTP/1.1\r\n" }).await);
    }
    for _ in 0..20 {
        // A client of its own each time, and so a connection.
        let answer = http_client().get(format!("http://{}/v1/quotes", api.addr())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert!(closed_for(&api, "room").await > 0.0);
    drop(silent);
}

#[tokio::test]
async fn health_is_answered_while_all_connections_are_busy() {
    let (_database, api) = api_of(|listener| HttpServer::new(listener, 4)).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let mut waiting = vec![];
    for _ in 0..3 {
        waiting.push(client(&api, &format!("GET /v1/quotes/{id}?wait=30 HTTP/1.1\r\nhost: a\r\n\r\n")).await);
    }
    // The fourth takes the place of the connection that submitted.
    let url = |path| format!("http://{}{path}", api.addr());
    waiting.push(client(&api, &format!("GET /v1/quotes/{id}?wait=30 HTTP/1.1\r\nhost: a\r\n\r\n")).await);
    let refused = eventually("a refusal", LIMIT, async || {
        let answer = http_client().get(url("/v1/quotes")).send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/overloaded");
    for _ in 0..50 {
        assert_eq!(http_client().get(url("/healthz")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let (_database, mut api) = api_of(|listener| HttpServer::new(listener, 1_000)).await;
    let (mut silent, mut used) = (vec![], vec![]);
    for _ in 0..100 {
        silent.push(client(&api, "").await);
        silent.push(client(&api, "GET /v1/quo").await);
        let mut stream = client(&api, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        used.push(stream);
    }
    let begun = Instant::now();
    api.signals.drain.cancel();
    timeout(LIMIT, &mut api.ended).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
