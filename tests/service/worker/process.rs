//! What a worker leaves behind for the others, however it ends.

use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use chrono::Utc;
use entity::outbox_event::Status;
use feebox::lab::sample_fee_server::Faults;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Signal, Stage, eventually};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_hands_back_unsent_events_on_postgres() {
    a_worker_that_is_stopped_hands_back_unsent_events(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_hands_back_unsent_events_on_mariadb() {
    a_worker_that_is_stopped_hands_back_unsent_events(Engine::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_hands_back_unsent_events_on_sqlite() {
    a_worker_that_is_stopped_hands_back_unsent_events(Engine::Sqlite).await;
}

async fn a_worker_that_is_stopped_hands_back_unsent_events(engine: Engine) {
    let faults = Faults { latency: Duration::from_millis(700), no_idempotency: true, ..Faults::default() };
    let stage = Stage::new(engine, faults).await;
    stage.submit(200).await;
    let settings = [("worker.lease", "60s"), ("fee_server.timeout", "20s")];
    let worker = stage.worker(&settings).await;
    stage.under_load(32).await;
    let told = Instant::now();
    worker.signal(Signal::Terminate);
    assert!(worker.wait(LIMIT).await.success());
    let took = told.elapsed();
    let events = stage.events().await;
    let delivered = events.iter().filter(|event| event.status == Status::Delivered).count();
    for event in &events {
        let attempts = i32::from(event.status == Status::Delivered);
        assert_eq!(event.attempts, attempts, "{event:?}");
        assert!(matches!(event.status, Status::Delivered | Status::Pending), "{event:?}");
        assert_eq!((event.leased_until, event.outcome_unknown), (None, false), "{event:?}");
        assert!(event.status == Status::Delivered || event.lease_token.is_none(), "{event:?}");
    }
    assert!(delivered >= 32, "what was under way was finished");

    let _next = stage.worker(&settings).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("SIGTERM, {engine:?}: {books}, exit 0 after {took:.1?}, delivered by then {delivered}");
    books.assert_sound();
    books.assert_each_sent_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_outlast_the_grace_are_cut_off_and_looked_up_later() {
    let stage =
        Stage::new(Engine::Postgres, Faults { hang_rate: 1.0, no_idempotency: true, ..Faults::default() }).await;
    stage.submit(100).await;
    let patient = [("worker.lease", "60s"), ("fee_server.timeout", "50s"), ("worker.shutdown_grace", "1s")];
    let worker = stage.worker(&patient).await;
    stage.under_load(32).await;
    let told = Instant::now();
    worker.signal(Signal::Terminate);
    assert!(worker.wait(LIMIT).await.success());
    let took = told.elapsed();
    assert!((SECOND..20 * SECOND).contains(&took), "{took:?}");
    let events = stage.events().await;
    assert!(events.iter().all(|event| event.status == Status::Pending), "no lease is left behind");
    let unknown = events.iter().filter(|event| event.outcome_unknown).count();
    assert_eq!(unknown, events.iter().filter(|event| event.attempts == 1).count());
    assert_eq!(unknown, 32);

    stage.fee_server.set_faults(Faults { no_idempotency: true, ..Faults::default() });
    let _next = stage.worker(&[]).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("SIGTERM with calls that hang: {books}, exit 0 after {took:.1?} of 1 s grace");
    books.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_kills_its_workers_ends_dead_and_the_others_are_delivered() {
    const ATTEMPTS_MAX: i32 = 8;
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let quotes = stage.submit(60).await;
    let poison = quotes[7];
    let (worker_dies, mut deaths) = watch::channel(0_u32);
    let fatal = fatal_fee_server(poison, worker_dies).await;
    let settings = [
        ("fee_server.base_url", fatal.as_str()),
        ("worker.lease", "1s"),
        ("fee_server.timeout", "900ms"),
        ("worker.concurrency", "4"),
        // Longer than the ticks, by which alone events could meet again and again.
        ("retry.initial_interval", "1s"),
        ("retry.max_interval", "4s"),
        ("retry.randomization_factor", "1.0"),
        ("retry.max_attempts", &ATTEMPTS_MAX.to_string()),
    ];
    // A supervisor, as every installation has one.
    let mut worker = stage.worker(&settings).await;
    let mut killed = 0;
    let event = loop {
        tokio::select! {
            changed = deaths.changed() => {
                changed.unwrap();
                worker.signal(Signal::Kill);
                worker.wait(LIMIT).await;
                killed += 1;
                worker = stage.worker(&settings).await;
            }
            event = eventually("the poison is dead", LIMIT, async || {
                let event = stage.event_of(poison).await;
                (event.status == Status::Dead).then_some(event)
            }) => break event,
        }
    };
    stage.drained().await;
    let events = stage.events().await;
    let most = events.iter().filter(|other| other.id != event.id).map(|other| other.attempts).max().unwrap();
    println!(
        "poison: dead after {} attempts and {killed} workers, the others took at most {most} attempts",
        event.attempts
    );
    assert_eq!(event.attempts, ATTEMPTS_MAX);
    assert_eq!(killed, ATTEMPTS_MAX);
    assert!(event.last_error.unwrap().contains("left no result"));
    assert_eq!(events.iter().filter(|event| event.status == Status::Delivered).count(), 59);
}

/// A fee server that kills its caller when it is called for the quote `poison`, and counts that in `deaths`.
async fn fatal_fee_server(poison: Uuid, deaths: watch::Sender<u32>) -> String {
    let make_fee = async move |Json(request): Json<Value>| {
        if request["quote_id"] == json!(poison) {
            deaths.send_modify(|deaths| *deaths += 1);
            std::future::pending::<()>().await;
        }
        let (quote_id, currency) = (&request["quote_id"], &request["currency"]);
        Json(json!({
            "fee_id": Uuid::now_v7(), "quote_id": quote_id, "currency": currency, "amount_minor": 1, "rate_bps": 1,
            "calculated_at": Utc::now(),
        }))
    };
    let look_up = async || Json(json!({ "fees": [] }));
    let router = Router::new().route("/v1/fees", post(make_fee).get(look_up));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base_url
}
