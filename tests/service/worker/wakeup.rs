//! How soon a worker learns what another process has stored: at once where the database has notifications, else by its
//! ticks.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Process, Server, Stage, eventually, http_client};

const SECOND: Duration = Duration::from_secs(1);
/// A worker that waits for this one's tick waits for the new year.
const NEVER: (&str, &str) = ("worker.schedule", "0 0 0 1 1 *");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_commit_in_one_process_wakes_the_worker_in_another() {
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _worker = stage.worker(&[NEVER]).await;
    eventually("the worker listens", LIMIT, async || {
        let question =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let connection = stage.db.connection();
        let question = Statement::from_string(connection.get_database_backend(), question);
        let row = connection.query_one_raw(question).await.unwrap().unwrap();
        (row.try_get_by_index::<i64>(0).unwrap() > 0).then_some(())
    })
    .await;
    let lags = submit_five(&stage, &base_url).await;
    println!("wake-up, PostgreSQL: fees after {lags:.0?}");
    assert!(lags[2] < SECOND, "{lags:?}");
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mariadb_ticks_alone_are_enough() {
    ticks_alone_are_enough(Engine::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_ticks_alone_are_enough() {
    ticks_alone_are_enough(Engine::Sqlite).await;
}

async fn ticks_alone_are_enough(engine: Engine) {
    let stage = Stage::new(engine, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let worker = stage.worker(&[]).await;
    let lags = submit_five(&stage, &base_url).await;
    println!("ticks alone, {engine:?}: fees after {lags:.0?}");
    assert_eq!(lines_about_ticks(&worker), 1);
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_ticks_alone_are_enough() {
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
    println!("ticks alone, PgBouncer: fees after {lags:.0?}; then {books}");
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
