//! What machines that look after Feebox get to see.

use std::pin::pin;

use feebox::http;
use feebox::lab::sample_fee_server::Faults;
use feebox::supervision::Health;
use futures_util::future::join_all;
use migration::{Migrator, MigratorTrait};
use reqwest::Method;
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Api, Engine, LIMIT, Stage, TestDatabase, a_quote, eventually, free_port, http_client, open};

#[tokio::test]
async fn readiness_fails_while_migrations_are_pending() {
    for engine in Engine::ALL {
        let database = TestDatabase::create(engine).await;
        let api = Api::start(&database).await;
        assert_eq!(api.get("/healthz").await.status(), 200, "{engine:?}");
        let answer = api.get("/readyz").await;
        assert_eq!(answer.status(), 503, "{engine:?}");
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/not-ready");
        assert!(problem["detail"].as_str().unwrap().contains("feebox migrate up"), "{problem}");

        let connection = database.connect().await;
        Migrator::up(&connection, None).await.unwrap();
        let ready = async || (api.get("/readyz").await.status() == 200).then_some(());
        eventually("ready", LIMIT, ready).await;

        // A newer version has migrated this database further, which does no harm.
        let insert = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_newer', 1)";
        connection.execute_unprepared(insert).await.unwrap();
        assert_eq!(Api::start(&database).await.get("/readyz").await.status(), 200, "{engine:?}");
    }
}

#[tokio::test]
async fn metrics_count_stored_quotes() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    api.submit().await;
    let answer = api.get("/metrics").await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let page = answer.text().await.unwrap();
    // Other tests of this process count too.
    for name in ["feebox_quotes_submitted_total", "feebox_submission_seconds_count"] {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.split(' ').next_back().unwrap().parse::<u64>().unwrap() > 0, "{line}");
    }
}

#[tokio::test]
async fn metrics_as_open_metrics_lead_to_the_traces_of_what_they_count() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let scrape = async || {
        // As Prometheus asks.
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let answer = api.request(Method::GET, "/metrics").header("accept", accept).send().await.unwrap();
        assert!(
            answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text; version=1")
        );
        answer.text().await.unwrap()
    };
    // The first scrape has them kept.
    assert!(scrape().await.ends_with("\n# EOF\n"));
    let trace_id = uuid::Uuid::new_v4().simple().to_string();
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    let call = call.header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"));
    assert_eq!(call.send().await.unwrap().status(), 201);
    let page = scrape().await;
    assert!(page.contains("# TYPE feebox_quotes_submitted counter\n"), "{page}");
    let expected = format!("# {{trace_id=\"{trace_id}\"}} ");
    let mut buckets = page.lines().filter(|line| line.starts_with("feebox_submission_seconds_bucket{"));
    assert!(buckets.any(|line| line.contains(&expected)), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_where_its_trace_is_seen() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (_serve, api) = stage.serve(&[("traces.link", "https://traces.example/trace/{trace_id}?days=7")], &[]).await;
    let call = http_client().post(format!("{api}/v1/quotes")).json(&a_quote());
    let call = call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    assert_eq!(call.send().await.unwrap().status(), 201);
    let event = stage.events().await.remove(0).id;
    let event: Value =
        http_client().get(format!("{api}/v1/outbox/{event}")).send().await.unwrap().json().await.unwrap();
    assert_eq!(event["trace_url"], "https://traces.example/trace/4bf92f3577b34da6a3ce929d0e0e4736?days=7");
}

#[tokio::test]
async fn metrics_can_have_a_port_of_their_own() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let bind = format!("127.0.0.1:{}", free_port());
    let (_serve, base_url) = stage.serve(&[("server.metrics_bind", &bind)], &[]).await;
    let status = async |url: String| http_client().get(url).send().await.unwrap().status().as_u16();
    for (path, here, there) in
        [("/healthz", 200, 200), ("/readyz", 200, 200), ("/metrics", 404, 200), ("/v1/quotes", 200, 404)]
    {
        let statuses = (status(format!("{base_url}{path}")).await, status(format!("http://{bind}{path}")).await);
        assert_eq!(statuses, (here, there), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_share_one_session_however_many_come_and_show_the_last_counts_without_it() {
    let database = TestDatabase::migrated(Engine::Postgres).await;
    let api = Api::start(&database).await;
    // What the gauges read waits for this.
    let locked = database.connect().await.begin().await.unwrap();
    locked.execute_unprepared("LOCK TABLE outbox_event IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let watch = database.connect().await;
    let waiting = async || {
        let asked =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let row = watch.query_one_raw(Statement::from_string(DbBackend::Postgres, asked)).await.unwrap().unwrap();
        row.try_get_by_index::<i64>(0).unwrap()
    };
    // Those that come when the first have given up find their question still waiting.
    for _ in 0..2 {
        let (mut scrapes, mut most) = (pin!(join_all((0..40).map(|_| api.get("/metrics")))), 0);
        let answers = loop {
            tokio::select! {
                answers = &mut scrapes => break answers,
                waits = waiting() => most = most.max(waits),
            }
        };
        assert!(answers.iter().all(|answer| answer.status() == 200));
        assert_eq!(most, 1);
    }
    locked.rollback().await.unwrap();
}

#[tokio::test]
async fn a_worker_serves_only_health_and_metrics() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let (router, readiness) =
        http::worker_router(&open(database.url()).await, feebox::telemetry::install_metrics(), Health::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let drain = CancellationToken::new();
    tokio::spawn(readiness.keep(drain.clone()));
    let serving = tokio::spawn(http::serve(listener, router, drain.clone()));
    let client = http_client();
    for (path, status) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/quotes", 404), ("/openapi.json", 404)]
    {
        let answer = client.get(format!("http://{addr}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let answer = client.post(format!("http://{addr}/v1/quotes")).json(&a_quote()).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    drain.cancel();
    serving.await.unwrap();
}
