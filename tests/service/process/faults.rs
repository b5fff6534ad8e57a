//! Faults of the process itself: its log is not read, it may open few files, a task of it panics. Quotes and events are
//! not to pay for them.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use reqwest::Client;
use sea_orm::EntityTrait;

use crate::support::{Engine, LIMIT, Process, Stage, a_quote, base_url_of, eventually, free_port, http_client};

/// What stands behind standard error, in the words of a shell.
const NOBODY_READS: [&str; 4] = ["bash", "-c", r#"exec "$@" 2> >(exec head -c 1 > /dev/null)"#, "bash"];
const DISK_IS_FULL: [&str; 4] = ["bash", "-c", r#"exec "$@" 2> /dev/full"#, "bash"];
const READER_SLEEPS: [&str; 4] = ["bash", "-c", r#"exec "$@" 2> >(exec sleep 60 > /dev/null 2>&1)"#, "bash"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_read_costs_lines_alone() {
    works_without_log(&NOBODY_READS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_full_disk_costs_lines_alone() {
    works_without_log(&DISK_IS_FULL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_reader_sleeps_costs_lines_alone() {
    works_without_log(&READER_SLEEPS).await;
}

/// Everything is logged, and panics are, and all of it is lost.
async fn works_without_log(wrapper: &[&str]) {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let base_url = format!("http://127.0.0.1:{}", free_port());
    let bind = base_url.trim_start_matches("http://");
    let settings = [("worker.bind", bind), ("log.filter", "trace")];
    let worker = stage.process_by(wrapper, &["worker"], &settings, &[("FEEBOX_PANIC_AT", "worker-run:1")]);
    worker.wait_ready(&base_url, LIMIT).await;
    let lost = async || metric(&base_url, "feebox_log_lines_lost_total").await.filter(|lost| *lost > 0.0);
    while lost().await.is_none() {
        stage.submit(50).await;
        stage.drained().await;
    }
    stage.submit(50).await;
    stage.drained().await;
    stage.books().await.assert_sound();
    assert_eq!(http_client().get(format!("{base_url}/readyz")).send().await.unwrap().status(), 200);
    worker.signal(crate::support::Signal::Terminate);
    eventually("the end of feebox", LIMIT, async || {
        http_client().get(format!("{base_url}/healthz")).send().await.is_err().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_is_started_again_and_health_says_so_meanwhile() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let worker = stage.worker_with(&[], &[("FEEBOX_PANIC_AT", "worker-run:3")]).await;
    let base_url = base_url_of(&worker).await;
    for path in ["healthz", "readyz"] {
        eventually("a fault", LIMIT, async || {
            let answer = http_client().get(format!("{base_url}/{path}")).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            (status == 503 && text.contains("the task fee-server is down")).then_some(())
        })
        .await;
    }
    stage.submit(20).await;
    stage.drained().await;
    worker.wait_ready(&base_url, LIMIT).await;
    assert_eq!(metric(&base_url, r#"feebox_task_panics_total{task="fee-server"}"#).await, Some(3.0));
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_panics_costs_its_own_run_alone() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let upkeep = [("retention.schedule", "* * * * * *")];
    let worker = stage.worker_with(&upkeep, &[("FEEBOX_PANIC_AT", "upkeep-run:6")]).await;
    worker.wait_for_line(LIMIT, |line| line.contains("upkeep panicked")).await;
    stage.submit(5).await;
    stage.drained().await;
    let base_url = base_url_of(&worker).await;
    assert_eq!(http_client().get(format!("{base_url}/healthz")).send().await.unwrap().status(), 200);
    worker.wait_for_line(LIMIT, |line| line.contains(r#""message":"pruned""#)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_few_descriptors_answers_every_client() {
    for limit in ["--nofile=64:64", "--nofile=100:100"] {
        let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
        let settings = [("server.bind", "127.0.0.1:0")];
        let serve = stage.process_by(&["prlimit", limit], &["serve"], &settings, &[]);
        let base_url = base_url_of(&serve).await;
        serve.wait_ready(&base_url, LIMIT).await;
        serve.wait_for_line(LIMIT, |line| line.contains("too few file descriptors")).await;
        // Clients that keep their connections, more than there are descriptors, and some that say nothing.
        let clients: Vec<Client> = (0..120).map(|_| http_client()).collect();
        let addr = base_url.trim_start_matches("http://");
        let mut silent = vec![];
        for _ in 0..30 {
            silent.push(tokio::net::TcpStream::connect(addr).await.unwrap());
        }
        let calls = clients.iter().map(|client| submit_until_taken(client, &base_url));
        futures_util::future::join_all(calls).await;
        assert_eq!(stage.event_count().await, clients.len(), "{limit}");
        let begun = Instant::now();
        assert_eq!(http_client().get(format!("{base_url}/healthz")).send().await.unwrap().status(), 200);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(silent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_few_descriptors_delivers_and_opens_no_circuit() {
    for limit in ["--nofile=64:64", "--nofile=100:100"] {
        let faults = Faults { latency: Duration::from_millis(100), ..Faults::default() };
        let stage = Stage::new(Engine::Sqlite, faults).await;
        // Nothing but descriptors runs out, however busy the machine is.
        let settings = [
            ("worker.concurrency", "256"),
            ("worker.lease", "45s"),
            ("fee_server.timeout", "20s"),
            ("circuit.failures", "3"),
        ];
        let worker = stage.process_by(&["prlimit", limit], &["worker"], &settings, &[]);
        stage.submit(600).await;
        stage.drained().await;
        stage.books().await.assert_sound();
        assert_opened_no_circuit(&stage, &worker).await;
    }
}

async fn assert_opened_no_circuit(stage: &Stage, worker: &Process) {
    let opened = entity::circuit_opening::Entity::find().all(stage.db.connection());
    assert!(opened.await.unwrap().is_empty(), "{:#?}", worker.lines());
}

async fn submit_until_taken(client: &Client, base_url: &str) {
    eventually("a place", LIMIT, async || {
        let call = client.post(format!("{base_url}/v1/quotes")).json(&a_quote()).timeout(Duration::from_secs(30));
        call.send().await.is_ok_and(|answer| answer.status() == 201).then_some(())
    })
    .await;
}

async fn metric(base_url: &str, name: &str) -> Option<f64> {
    let answer = http_client().get(format!("{base_url}/metrics")).send().await.ok()?;
    let page = answer.text().await.ok()?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

impl Stage {
    async fn event_count(&self) -> usize {
        self.events().await.len()
    }
}
