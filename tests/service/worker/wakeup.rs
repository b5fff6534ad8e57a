//! How soon a worker learns what another process has stored: at once where datagrams or notifications reach it, else by
//! its ticks.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Process, Server, Signal, Stage, eventually, http_client, on_servers};

const SECOND: Duration = Duration::from_secs(1);
/// A worker that waits for this one's tick waits for the new year.
const NEVER: (&str, &str) = ("worker.schedule", "0 0 0 1 1 *");

on_servers!(a_commit_in_one_process_wakes_the_worker_in_another, a_worker_that_was_killed_and_started_again_is_woken,);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_commit_in_one_process_wakes_the_worker_in_another() {
    a_commit_in_one_process_wakes_the_worker_in_another(Engine::Sqlite).await;
}

async fn a_commit_in_one_process_wakes_the_worker_in_another(engine: Engine) {
    let stage = Stage::new(engine, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _worker = stage.worker(&[NEVER]).await;
    listens(&stage).await;
    let lags = submit_five(&stage, &base_url).await;
    println!("wake-up, {engine:?}: fees after {lags:.0?}");
    assert!(lags[2] < SECOND, "{lags:?}");
    stage.books().await.assert_sound();
}

async fn a_worker_that_was_killed_and_started_again_is_woken(engine: Engine) {
    let stage = Stage::new(engine, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let killed = stage.worker(&[NEVER]).await;
    listens(&stage).await;
    submit_five(&stage, &base_url).await;
    killed.signal(Signal::Kill);
    killed.wait(LIMIT).await;
    let _worker = stage.worker(&[NEVER]).await;
    eventually("both are known", LIMIT, async || (listeners(&stage).await == 2).then_some(())).await;
    submit_five(&stage, &base_url).await;
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_is_no_longer_among_those_that_are_woken() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let worker = stage.worker(&[NEVER]).await;
    listens(&stage).await;
    worker.signal(Signal::Terminate);
    worker.wait(LIMIT).await;
    assert_eq!(listeners(&stage).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_datagram_gets_through_postgres_carries_the_wake_up() {
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _worker = stage.worker(&[NEVER]).await;
    listens(&stage).await;
    eventually("the worker listens to notifications", LIMIT, async || {
        let question =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        (number(&stage, question).await > 0).then_some(())
    })
    .await;
    // A port at which nobody answers.
    let moved = "UPDATE process SET wake_address = '127.0.0.1:9'";
    stage.db.connection().execute_unprepared(moved).await.unwrap();
    let lags = submit_five(&stage, &base_url).await;
    println!("wake-up by notification: fees after {lags:.0?}");
    assert!(lags[2] < SECOND, "{lags:?}");
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_wake_ups_ticks_alone_are_enough() {
    for engine in [Engine::MariaDb, Engine::Sqlite] {
        let stage = Stage::new(engine, Faults::default()).await;
        let off = ("worker.wakeup", "false");
        let (_serve, base_url) = stage.serve(&[off], &[]).await;
        let _worker = stage.worker(&[off]).await;
        let lags = submit_five(&stage, &base_url).await;
        println!("ticks alone, {engine:?}: fees after {lags:.0?}");
        assert_eq!(listeners(&stage).await, 0);
        stage.books().await.assert_sound();
    }
}

/// Waits until the worker is known as one that can be woken.
async fn listens(stage: &Stage) {
    eventually("the worker takes wake-ups", LIMIT, async || (listeners(stage).await > 0).then_some(())).await;
}

async fn listeners(stage: &Stage) -> i64 {
    number(stage, "SELECT count(*) FROM process WHERE wake_address IS NOT NULL").await
}

async fn number(stage: &Stage, question: &str) -> i64 {
    let connection = stage.db.connection();
    let question = Statement::from_string(connection.get_database_backend(), question);
    connection.query_one_raw(question).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_fleets_lose_and_repeat_nothing() {
    let stage = Stage::new(Engine::Postgres, Faults { latency: Duration::from_millis(50), ..Faults::default() }).await;
    let (_pooler, url) = pooler_before(&stage);
    let url = format!("{url}?statement-cache-capacity=0");
    let pooled = [("database.url", url.as_str()), ("worker.lease", "60s"), ("fee_server.timeout", "20s")];
    let (_serve, base_url) = stage.serve(&pooled, &[]).await;
    let workers: [Process; 3] = stage.workers(&pooled).await;
    let lags = submit_five(&stage, &base_url).await;
    // Enough at once that the pooler mixes its clients and servers.
    stage.submit(500).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("PgBouncer: fees after {lags:.0?}; then {books}");
    for worker in &workers {
        worker.wait_for_line(LIMIT, |line| line.contains("on the next cron tick")).await;
        assert_eq!(lines_about_ticks(worker), 1);
    }
    books.assert_sound();
    books.assert_each_sent_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_pooler_that_is_not_configured_is_detected() {
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let (_pooler, url) = pooler_before(&stage);
    let worker = stage.worker(&[("database.url", &url)]).await;
    worker.wait_for_line(LIMIT, |line| line.contains("add ?statement-cache-capacity=0 to database.url")).await;
}

fn pooler_before(stage: &Stage) -> (Server, String) {
    let pooler = Server::pgbouncer(Server::shared_postgres().url());
    let addr = Url::parse(pooler.url()).unwrap().socket_addrs(|| None).unwrap()[0];
    (pooler, stage.database.url_through(addr))
}

fn lines_about_ticks(worker: &Process) -> usize {
    worker.lines().iter().filter(|line| line.contains("next cron tick")).count()
}

/// Submits five quotes, one when the other has its fee; returns how long each took for it, the shortest time first.
async fn submit_five(stage: &Stage, base_url: &str) -> Vec<Duration> {
    let mut lags = vec![];
    for _ in 0..5 {
        let quote = submit(base_url).await;
        let stored = Instant::now();
        stage.accept(&[quote]);
        stage.drained().await;
        lags.push(stored.elapsed());
    }
    lags.sort();
    lags
}

async fn submit(base_url: &str) -> Uuid {
    let line = json!({ "description": "freight", "quantity": 1, "unit_price_minor": 5_000 });
    let quote = json!({ "customer_id": "customer", "currency": "EUR", "lines": [line] });
    let answer = http_client().post(format!("{base_url}/v1/quotes")).json(&quote).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let stored: Value = answer.json().await.unwrap();
    stored["id"].as_str().unwrap().parse().unwrap()
}
