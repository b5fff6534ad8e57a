//! A disk that is full for a while: what is answered with 201 is stored, and the rest is refused.

use std::process::Command;
use std::time::Duration;

use feebox::lab::sample_fee_server::Faults;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Process, Signal, Stage, a_quote, base_url_of, eventually, http_client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_accepted_around_a_full_disk_survive_a_kill() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (url, file) = (format!("--set=database.url={}", stage.database.url()), "--set=server.bind=127.0.0.1:0");
    let serve = Process::start_with_limited_files(&["serve", &url, file, "--set=log.format=json"], &[]);
    let base_url = base_url_of(&serve).await;
    serve.wait_ready(&base_url, LIMIT).await;
    let mut accepted = Vec::new();
    let (refused, _) = submit_batches(&base_url, 5, &mut accepted).await;
    assert_eq!(refused, 0);

    limit_files(&serve, "32768");
    let (refused, _) = submit_batches(&base_url, 6, &mut accepted).await;
    assert!(refused > 0, "the disk is full");
    let client = http_client();
    let ready = async || client.get(format!("{base_url}/readyz")).send().await.unwrap().status();
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);

    limit_files(&serve, "unlimited");
    eventually("ready again by itself", LIMIT, async || (ready().await == StatusCode::OK).then_some(())).await;
    let (refused, _) = submit_batches(&base_url, 8, &mut accepted).await;
    assert_eq!(refused, 0, "there is room again");

    assert_eq!(missing(&stage, &accepted).await, 0, "another connection finds all that was accepted");
    serve.signal(Signal::Kill);
    serve.wait(Duration::from_secs(30)).await;
    assert_eq!(missing(&stage, &accepted).await, 0, "and after a kill");
}

/// Submits batches of 50; returns how many were refused and of how many the answer was a replay.
async fn submit_batches(base_url: &str, batches: usize, accepted: &mut Vec<Uuid>) -> (usize, usize) {
    let client = http_client();
    let mut refused = 0;
    for _ in 0..batches {
        let body = json!({ "quotes": vec![a_quote(); 50] });
        let answer = client.post(format!("{base_url}/v1/quotes:batch")).json(&body).send().await.unwrap();
        if answer.status() != StatusCode::CREATED {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            refused += 1;
            continue;
        }
        let answer: Value = answer.json().await.unwrap();
        let ids = answer["quotes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|quote| quote["id"].as_str().unwrap().parse::<Uuid>().unwrap());
        accepted.extend(ids);
    }
    (refused, batches)
}

async fn missing(stage: &Stage, accepted: &[Uuid]) -> usize {
    let mut found = 0;
    for some in accepted.chunks(100) {
        found += feebox::quotes::by_ids(stage.db.connection(), some).await.unwrap().len();
    }
    accepted.len() - found
}

/// The largest file that the process may write.
fn limit_files(process: &Process, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status().unwrap();
    assert!(set.success());
}
