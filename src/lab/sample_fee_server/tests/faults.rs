//! The server's faults, also while it starts and stops.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{BLINK, Faults, MOMENT, SampleFeeServer, Setup, body};
use crate::lab::sample_fee_server::STOP_GRACE;

#[tokio::test]
async fn a_failing_server_makes_no_fee_and_sends_retry_after() {
    let faults = Faults { fail_rate: 1.0, retry_after: Some(Duration::from_secs(3)), ..Faults::default() };
    let setup = Setup::with(faults).await;
    let response = setup.ask("a", Uuid::now_v7()).await.expect("answered");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "3");
    assert!(setup.server.fees().is_empty());

    setup.server.set_faults(Faults::default());
    assert_eq!(setup.fee("a", Uuid::now_v7()).await.0, StatusCode::CREATED, "the faults have changed");
}

/// What a client without an HTTP library reads after a request: bytes, then an end or an error.
async fn raw_answer(server: &SampleFeeServer) -> (Vec<u8>, io::Result<usize>) {
    let body = body(Uuid::now_v7()).to_string();
    let request = format!("POST /v1/fees HTTP/1.1\r\nhost: fees\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(server.addr()).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut read = Vec::new();
    let end = stream.read_to_end(&mut read).await;
    (read, end)
}

#[tokio::test]
async fn a_cut_connection_is_reset_without_a_byte_of_an_answer() {
    for (latency, commits) in [(Duration::ZERO, false), (Duration::ZERO, true), (BLINK, false), (BLINK, true)] {
        let (before, after) = if commits { (0.0, 1.0) } else { (1.0, 0.0) };
        let faults = Faults { latency, reset_rate: before, commit_reset_rate: after, ..Faults::default() };
        let setup = Setup::with(faults).await;
        let (read, end) = raw_answer(&setup.server).await;
        assert_eq!(end.expect_err("no orderly end").kind(), io::ErrorKind::ConnectionReset);
        assert!(read.is_empty());
        assert_eq!(setup.server.fees().len(), usize::from(commits));
        assert!(setup.ask("a", Uuid::now_v7()).await.is_err(), "an HTTP client sees no answer either");
    }
}

#[tokio::test]
async fn a_hanging_call_gets_no_answer_and_does_not_hinder_the_stop() {
    let setup = Setup::with(Faults { hang_rate: 1.0, ..Faults::default() }).await;
    let quote_id = Uuid::now_v7();
    tokio::time::timeout(MOMENT, setup.ask("a", quote_id)).await.expect_err("no answer");
    assert!(setup.server.fees().is_empty());

    let Setup { server, client } = setup;
    let call = client.post(format!("{}/v1/fees", server.base_url())).json(&body(quote_id)).send();
    let stop = async {
        while server.arrivals().len() < 2 {
            tokio::task::yield_now().await;
        }
        server.stop().await;
    };
    let (answer, stopped) = tokio::join!(call, tokio::time::timeout(STOP_GRACE / 2, stop));
    assert!(answer.is_err() && stopped.is_ok());
}

#[tokio::test]
async fn the_fee_is_made_although_the_client_gave_up_waiting() {
    let setup = Setup::with(Faults { latency: MOMENT, ..Faults::default() }).await;
    let quote_id = Uuid::now_v7();
    tokio::time::timeout(MOMENT / 2, setup.ask("a", quote_id)).await.expect_err("gave up");
    assert!(setup.server.fees().is_empty(), "the fee is made at the end of the latency");
    assert_eq!(setup.fee("a", quote_id).await.0, StatusCode::OK, "made by the call that was given up");
}

#[tokio::test]
async fn stopping_answers_the_calls_that_are_open() {
    let Setup { server, client } = Setup::with(Faults { latency: MOMENT, ..Faults::default() }).await;
    let call = client.post(format!("{}/v1/fees", server.base_url())).json(&body(Uuid::now_v7())).send();
    let stop = async {
        while server.arrivals().is_empty() {
            tokio::task::yield_now().await;
        }
        server.stop().await;
    };
    let (answer, ()) = tokio::join!(call, stop);
    assert_eq!(answer.expect("answered").status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_remembers_its_fees() {
    let mut setup = Setup::with(Faults::default()).await;
    let quote_id = Uuid::now_v7();
    let (_, fee) = setup.fee("a", quote_id).await;
    setup.server.down().await.expect("down");
    setup.server.down().await.expect("still down");
    let refusal = TcpStream::connect(setup.server.addr()).await.expect_err("refused");
    assert_eq!(refusal.kind(), io::ErrorKind::ConnectionRefused);
    // The old client may not have noticed yet that its connection was cut.
    setup.client = Client::new();
    assert!(setup.ask("a", quote_id).await.expect_err("refused").is_connect());
    setup.server.up().await.expect("up");
    setup.server.up().await.expect("still up");
    assert_eq!(setup.fee("a", quote_id).await, (StatusCode::OK, fee));
}

#[tokio::test]
async fn a_stopped_server_frees_its_port() {
    let Setup { server, client } = Setup::with(Faults::default()).await;
    let addr = server.addr();
    let health = client.get(format!("{}/healthz", server.base_url())).send().await.expect("answered");
    assert_eq!(health.status(), StatusCode::OK);
    server.stop().await;
    let again = SampleFeeServer::start(addr, Faults::default()).await.expect("the port is free");
    assert_eq!(again.addr(), addr);
}

#[tokio::test]
async fn a_poisoned_answer_hides_a_valid_fee() {
    let setup = Setup::with(Faults { poison_rate: 1.0, seed: Some(7), ..Faults::default() }).await;
    for _ in 0..20 {
        let quote_id = Uuid::now_v7();
        let (status, spoilt) = setup.fee(&quote_id.to_string(), quote_id).await;
        assert_eq!(status, StatusCode::CREATED);
        let (_, found) = setup.get(&format!("/v1/fees?quote_id={quote_id}")).await;
        assert_eq!(found["fees"][0]["quote_id"], serde_json::json!(quote_id));
        assert_ne!(found["fees"][0], spoilt);
    }
    assert_eq!(setup.server.fees().len(), 20);
}

#[tokio::test]
async fn html_pages_make_no_fee() {
    for faults in [Faults { page_rate: 1.0, ..Faults::default() }, Faults { forbid_rate: 1.0, ..Faults::default() }] {
        let setup = Setup::with(faults).await;
        let response = setup.ask("a", Uuid::now_v7()).await.expect("answered");
        assert!(setup.server.fees().is_empty());
        assert_eq!(response.headers()["content-type"], "text/html");
    }
}

#[tokio::test]
async fn a_cut_answer_follows_its_fee_and_has_incomplete_json() {
    let setup = Setup::with(Faults { cut_rate: 1.0, seed: Some(7), ..Faults::default() }).await;
    for made in 1..=20 {
        let (read, end) = raw_answer(&setup.server).await;
        end.expect("an orderly end");
        let answer = String::from_utf8(read).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 201 Created"), "{head}");
        assert!(serde_json::from_str::<serde_json::Value>(body).expect_err("cut").is_eof(), "{body}");
        assert_eq!(setup.server.fees().len(), made);
    }
}

#[tokio::test]
async fn a_failure_after_the_commit_hides_a_fee() {
    let setup = Setup::with(Faults { commit_fail_rate: 1.0, ..Faults::default() }).await;
    assert_eq!(setup.ask("a", Uuid::now_v7()).await.expect("answered").status(), StatusCode::BAD_GATEWAY);
    assert_eq!(setup.server.fees().len(), 1);
}

#[tokio::test]
async fn a_slow_body_arrives_complete() {
    let setup = Setup::with(Faults { slow_body_rate: 1.0, slow_body: MOMENT, ..Faults::default() }).await;
    let begun = std::time::Instant::now();
    let (status, fee) = setup.fee("a", Uuid::now_v7()).await;
    assert_eq!((status, fee["currency"].as_str()), (StatusCode::CREATED, Some("EUR")));
    assert!(begun.elapsed() >= MOMENT);
}

#[tokio::test]
async fn a_storm_sends_its_remaining_time_as_retry_after() {
    let setup = Setup::with(Faults { storm_rate: 1.0, storm: 10 * MOMENT, ..Faults::default() }).await;
    let response = setup.ask("a", Uuid::now_v7()).await.expect("answered");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(setup.server.fees().is_empty());
}
