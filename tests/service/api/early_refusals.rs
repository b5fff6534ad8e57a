//! A refusal reaches its client as an answer, also while the client still sends its body.

use std::net::SocketAddr;

use feebox::settings::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Api, Engine, LIMIT, TestDatabase};

const TOKENS: [(&str, &str, Role); 2] = [("shop", "submits", Role::Submitter), ("eye", "reads", Role::Viewer)];
const JSON: &str = "content-type: application/json\r\n";

/// A client that reads nothing before it has sent `bytes` of a body, and what it gets then.
async fn answer_after(addr: SocketAddr, line: &str, headers: &str, bytes: usize) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in vec![b'x'; bytes].chunks(64 * 1024) {
        stream.write_all(chunk).await.unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let mut answer = vec![0; 512];
    let length = timeout(LIMIT, stream.read(&mut answer)).await.unwrap();
    let length = length.unwrap_or_else(|error| panic!("{line}: {error}"));
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_everything_first() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_at(database.url(), &TOKENS).await;
    let submitter = format!("authorization: Bearer submits\r\n{JSON}");
    let text = "authorization: Bearer submits\r\ncontent-type: text/plain\r\n";
    for connection in ["", "connection: close\r\n"] {
        for (line, headers, status) in [
            ("POST /v1/quotes", JSON, 401),
            ("POST /v1/quotes", "authorization: Bearer wrong\r\n", 401),
            ("POST /v1/quotes", "authorization: Bearer reads\r\n", 403),
            ("POST /nowhere", &submitter, 404),
            ("PUT /v1/quotes", &submitter, 405),
            ("POST /v1/quotes", &submitter, 413),
            ("POST /v1/quotes", text, 415),
            ("POST /healthz", "", 405),
            ("GET /healthz", "", 200),
        ] {
            for _ in 0..5 {
                let answer = answer_after(api.addr(), line, &format!("{headers}{connection}"), 6_000_000).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {status}: {answer}");
            }
        }
        // More than any valid body: 16 MiB beyond what was read.
        let headers = format!("{submitter}{connection}");
        let answer = answer_after(api.addr(), "POST /v1/quotes:batch", &headers, 16_000_000).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // The connection is as good as before.
    let mut stream = TcpStream::connect(api.addr()).await.unwrap();
    for _ in 0..3 {
        let body = "x".repeat(300_000);
        let request =
            format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = timeout(LIMIT, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 404 "));
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_asked_for_a_body_that_is_refused() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_at(database.url(), &TOKENS).await;
    let mut stream = TcpStream::connect(api.addr()).await.unwrap();
    let head = "POST /v1/quotes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6000000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = timeout(LIMIT, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[tokio::test]
async fn a_body_may_take_longer_than_the_time_limit_of_its_request_and_one_that_stops_is_refused() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let quote = crate::support::a_quote().to_string();
    // The time limit of a submission is 10 seconds, and a pause may be as long.
    let parts = [quote[..20].to_owned(), quote[20..40].to_owned(), quote[40..].to_owned()];
    let head = format!(
        "POST /v1/quotes HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: {}\r\nconnection: close\r\n\r\n",
        quote.len()
    );
    let slow = async {
        let mut stream = TcpStream::connect(api.addr()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in parts {
            // Nothing comes before the body is whole.
            assert!(timeout(std::time::Duration::from_secs(6), stream.read_u8()).await.is_err());
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        let mut answer = String::new();
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let stopped = async {
        let mut stream = TcpStream::connect(api.addr()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&quote.as_bytes()[..10]).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = timeout(LIMIT, stream.read(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let (slow, stopped) = tokio::join!(slow, stopped);
    assert!(slow.starts_with("HTTP/1.1 201 "), "{slow}");
    assert!(stopped.starts_with("HTTP/1.1 408 "), "{stopped}");
    assert_eq!(api.stored().await, (1, 1));
}
