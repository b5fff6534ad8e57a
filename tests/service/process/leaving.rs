//! A process that is told to stop serves those who still come, until load balancers have noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::support::{Engine, LIMIT, Process, Signal, Stage, a_quote, eventually, http_client};

/// What clients saw.
#[derive(Default)]
struct Seen {
    stored: AtomicUsize,
    failed: AtomicUsize,
    /// Nobody may connect any more.
    is_closed: AtomicBool,
}

async fn serve(stage: &Stage, drain: &str) -> (Process, String) {
    stage.serve(&[("server.drain", drain)], &[]).await
}

/// Submits until nobody listens any more, by one client or by a new one each time.
async fn submit(base_url: String, is_new_each_time: bool, seen: Arc<Seen>) {
    let mut client = http_client();
    let url = format!("{base_url}/v1/quotes");
    loop {
        match client.post(&url).json(&a_quote()).send().await {
            Ok(answer) if answer.status() == 201 => {
                seen.stored.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_connect() => {
                seen.is_closed.store(true, Ordering::SeqCst);
                return;
            }
            answer => {
                eprintln!("{answer:?}");
                seen.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
        if is_new_each_time {
            client = http_client();
        }
    }
}

async fn ready(client: &Client, base_url: &str) -> Option<u16> {
    client.get(format!("{base_url}/readyz")).send().await.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_until_the_port_closes() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (process, base_url) = serve(&stage, "3s").await;
    let (seen, mut clients) = (Arc::new(Seen::default()), JoinSet::new());
    for number in 0..28 {
        clients.spawn(submit(base_url.clone(), number >= 24, Arc::clone(&seen)));
    }
    eventually("load", LIMIT, async || (seen.stored.load(Ordering::SeqCst) > 100).then_some(())).await;
    process.signal(Signal::Terminate);
    let client = http_client();
    eventually("not ready", LIMIT, async || (ready(&client, &base_url).await == Some(503)).then_some(())).await;
    assert!(!seen.is_closed.load(Ordering::SeqCst), "the port is open while load balancers are told");
    // Whoever still comes is asked to go elsewhere.
    let answer = http_client().get(format!("{base_url}/v1/quotes")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["connection"]), (200, &"close".parse().unwrap()));
    let health = http_client().get(format!("{base_url}/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    assert!(process.wait(LIMIT).await.success());
    clients.join_all().await;
    assert_eq!(seen.failed.load(Ordering::SeqCst), 0);
    assert_eq!(stage.events().await.len(), seen.stored.load(Ordering::SeqCst), "each answer is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_wait() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (process, base_url) = serve(&stage, "5m").await;
    let begun = Instant::now();
    process.signal(Signal::Terminate);
    let client = http_client();
    eventually("not ready", LIMIT, async || (ready(&client, &base_url).await == Some(503)).then_some(())).await;
    process.signal(Signal::Terminate);
    assert!(process.wait(LIMIT).await.success());
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_at_the_terminal_does_not_wait() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (process, _) = serve(&stage, "5m").await;
    process.signal(Signal::Interrupt);
    assert!(process.wait(LIMIT).await.success());
}
