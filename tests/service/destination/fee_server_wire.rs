//! Connections that die while nobody looks, servers that move, tokens that are replaced.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status::{Delivered, Pending};
use feebox::destination::FeeServer;
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer};
use feebox::settings::{Settings, Sources};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Engine, TestOutbox, http_client, worker_settings};

/// A fee server that ignores keys and answers look-ups. When told so, it hangs up on the next request of each connection
/// that it has already used, without an answer, as one does whose keep-alive ran out a moment before.
#[derive(Default)]
struct Forgetful {
    hangs_up: AtomicBool,
    /// Also makes the fee before it hangs up.
    makes_the_fee: AtomicBool,
    hung_up: AtomicUsize,
    fees: Mutex<HashMap<String, usize>>,
}

impl Forgetful {
    async fn start() -> (Arc<Forgetful>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (server, addr) = (Arc::<Forgetful>::default(), listener.local_addr().unwrap());
        let accepting = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&accepting).serve(stream));
            }
        });
        (server, addr)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut used = false;
        while let Some((line, body)) = request(&mut stream).await {
            let hangs_up = used && self.hangs_up.load(Ordering::SeqCst);
            let answer = match line.split_once("quote_id=") {
                Some((_, rest)) => self.look_up(rest.split([' ', '&']).next().unwrap()),
                None if hangs_up && !self.makes_the_fee.load(Ordering::SeqCst) => json!(null),
                None => self.make(&body),
            };
            if hangs_up {
                self.hung_up.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
                return;
            }
            used = true;
        }
    }

    fn make(&self, body: &[u8]) -> Value {
        let quote: Value = serde_json::from_slice(body).unwrap();
        let quote_id = quote["quote_id"].as_str().unwrap();
        *self.fees.lock().unwrap().entry(quote_id.into()).or_default() += 1;
        fee(quote_id)
    }

    fn look_up(&self, quote_id: &str) -> Value {
        let known = self.fees.lock().unwrap().contains_key(quote_id);
        json!({ "fees": if known { vec![fee(quote_id)] } else { vec![] } })
    }

    fn fees_made(&self) -> (usize, usize) {
        let fees = self.fees.lock().unwrap();
        (fees.len(), fees.values().sum())
    }
}

fn fee(quote_id: &str) -> Value {
    json!({ "fee_id": "fee-1", "quote_id": quote_id, "currency": "EUR", "amount_minor": 63, "rate_bps": 250,
            "calculated_at": "2026-11-22T10:00:00Z" })
}

/// The first line of a request, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = vec![];
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if read.len() >= whole {
                return Some((head.lines().next()?.to_owned(), read[end + 4..whole].to_vec()));
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn outbox_and(base_url: &str, further: &[(&str, &str)], dir: &Path) -> (TestOutbox, Arc<FeeServer>) {
    // Its first call installs what TLS needs.
    let _ = http_client();
    let mut settings = vec![("fee_server.base_url", base_url), ("fee_server.timeout", "5s")];
    settings.extend_from_slice(further);
    let settings = Settings::load(&Sources { dir: dir.to_owned(), ..Sources::overrides(settings) }).unwrap();
    let destination = Arc::new(FeeServer::new(&settings.fee_server, 64).unwrap());
    (TestOutbox::open(Engine::Sqlite).await, destination)
}

/// Twenty quotes by connections that are kept, and twenty more after these have died.
async fn burst_on_dead_connections(makes_the_fee: bool) -> Arc<Forgetful> {
    let (server, addr) = Forgetful::start().await;
    let (outbox, destination) = outbox_and(&format!("http://{addr}"), &[], Path::new(".")).await;
    let worker = outbox.worker("w", &destination, worker_settings());
    outbox.submit(20).await;
    worker.run_once().await.unwrap();
    server.hangs_up.store(true, Ordering::SeqCst);
    server.makes_the_fee.store(makes_the_fee, Ordering::SeqCst);
    let second = outbox.submit(20).await;
    worker.run_once().await.unwrap();

    assert!(server.hung_up.load(Ordering::SeqCst) > 0, "dead connections were used");
    for id in second {
        let event = outbox.event(id).await;
        assert_eq!((event.status, event.attempts), (Delivered, 1), "{:?}", event.last_error);
        assert_eq!(event.failures, json!([]), "no failure");
    }
    let fee_server = outbox.fee_server().await;
    assert_eq!((fee_server.circuit, fee_server.consecutive_failures), (Circuit::Closed, 0), "counted for no circuit");
    server
}

#[tokio::test]
async fn a_burst_on_connections_that_died_meanwhile_is_delivered_at_once_and_counts_for_no_circuit() {
    assert_eq!(burst_on_dead_connections(false).await.fees_made(), (40, 40));
}

#[tokio::test]
async fn what_died_over_the_request_is_looked_up_before_it_is_sent_again() {
    assert_eq!(
        burst_on_dead_connections(true).await.fees_made(),
        (40, 40),
        "the server ignores keys, and made none twice"
    );
}

#[tokio::test]
async fn a_new_connection_that_dies_is_a_failure_and_is_not_tried_again_at_once() {
    let faults = Faults { commit_reset_rate: 1.0, ..Faults::default() };
    let sample = SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), faults).await.unwrap();
    let (outbox, destination) = outbox_and(&sample.base_url(), &[], Path::new(".")).await;
    outbox.submit(1).await;
    outbox.worker("w", &destination, worker_settings()).run_once().await.unwrap();
    let event = outbox.events().await.remove(0);
    assert_eq!((event.status, event.attempts, event.outcome_unknown), (Pending, 1, true));
    assert_eq!(sample.stats().requests, 1);
}

#[tokio::test]
async fn connections_are_not_kept_for_longer_than_their_largest_age() {
    let (server, addr) = Forgetful::start().await;
    let settings = [("fee_server.connection_max_age", "10ms")];
    let (outbox, destination) = outbox_and(&format!("http://{addr}"), &settings, Path::new(".")).await;
    // Whatever call finds a used connection is hung up on.
    server.hangs_up.store(true, Ordering::SeqCst);
    let worker = outbox.worker("w", &destination, worker_settings());
    for _ in 0..5 {
        outbox.submit(1).await;
        worker.run_once().await.unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((server.fees_made(), server.hung_up.load(Ordering::SeqCst)), ((5, 5), 0));
}

async fn guarded(token: &str) -> SampleFeeServer {
    let faults = Faults { token: Some(token.to_owned().into()), ..Faults::default() };
    SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), faults).await.unwrap()
}

#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_is_read_again_within_the_attempt() {
    let (sample, dir) = (guarded("old").await, tempfile::tempdir().unwrap());
    fs::write(dir.path().join("token"), "old\n").unwrap();
    let settings = [("fee_server.token_file", "token")];
    let (outbox, destination) = outbox_and(&sample.base_url(), &settings, dir.path()).await;
    let worker = outbox.worker("w", &destination, worker_settings());
    outbox.submit(20).await;
    worker.run_once().await.unwrap();

    sample.set_faults(Faults { token: Some("new".to_owned().into()), ..Faults::default() });
    fs::write(dir.path().join("token"), "new\n").unwrap();
    outbox.submit(20).await;
    worker.run_once().await.unwrap();
    let events = outbox.events().await;
    assert!(events.iter().all(|event| (event.status, event.attempts) == (Delivered, 1)), "{events:?}");
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
}

#[tokio::test]
async fn a_token_file_that_is_unusable_for_a_while_loses_no_token() {
    let (sample, dir) = (guarded("new").await, tempfile::tempdir().unwrap());
    let file = dir.path().join("token");
    fs::write(&file, "old").unwrap();
    let settings = [("fee_server.token_file", "token")];
    let (outbox, destination) = outbox_and(&sample.base_url(), &settings, dir.path()).await;
    let worker = outbox.worker("w", &destination, worker_settings());
    outbox.submit(1).await;
    for unusable in [Some(""), Some("a\u{0}b"), None, Some("old")] {
        match unusable {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        worker.run_once().await.unwrap();
        let event = outbox.events().await.remove(0);
        assert_eq!((event.status, event.attempts), (Pending, 0), "{unusable:?}");
        assert_eq!(outbox.fee_server().await.circuit, Circuit::Open, "{unusable:?}");
        outbox.advance(Duration::from_mins(1));
    }
    sample.set_faults(Faults { token: Some("old".to_owned().into()), ..Faults::default() });
    worker.run_once().await.unwrap();
    assert_eq!(outbox.events().await.remove(0).status, Delivered, "the token in use was kept");
}
