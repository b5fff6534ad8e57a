//! What a body costs in memory.

use std::fs;

use feebox::lab::sample_fee_server::Faults;
use futures_util::future::join_all;
use reqwest::Response;

use crate::support::{Engine, Process, Stage, http_client};

const MIB: u64 = 1024 * 1024;

/// The most memory that a process had, in bytes.
fn memory_max(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn post(base_url: &str, body: &str) -> Response {
    let call = http_client().post(format!("{base_url}/v1/quotes:batch")).header("content-type", "application/json");
    call.body(body.to_owned()).send().await.unwrap()
}

/// Batches of nearly 8 MiB that are small values for the most part.
fn hostile() -> [(&'static str, String); 4] {
    let filled = |before: &str, part: &str, after: &str| {
        let count = (8 * 1024 * 1024 - before.len() - after.len()) / part.len();
        format!("{before}{}{after}", part.repeat(count))
    };
    [
        ("unknown fields", filled("{\"quotes\":[", "{\"a\":0},", "{}]}")),
        ("in one quote", filled("{\"quotes\":[{\"a\":[", "{\"a\":0},", "0]}]}")),
        ("lines", filled("{\"quotes\":[{\"customer_id\":\"a\",\"currency\":\"EUR\",\"lines\":[", "{},", "{}]}]}")),
        ("lists", filled("{\"quotes\":[", "[[]],", "1]}")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_batch_costs_a_few_times_its_size() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    for (what, body) in hostile() {
        let (serve, base_url) = stage.serve(&[], &[]).await;
        let before = memory_max(&serve);
        let answer = post(&base_url, &body).await;
        assert_eq!(answer.status(), 422, "{what}: {:?}", answer.text().await);
        let taken = memory_max(&serve) - before;
        println!("{what}: {} MiB", taken / MIB);
        assert!(taken < 8 * body.len() as u64 + MIB / 4, "{what}: {} MiB", taken / MIB);
        // Eight at a time take little more than four.
        let answers = join_all((0..8).map(|_| post(&base_url, &body))).await;
        assert!(answers.iter().all(|answer| [422, 503].contains(&answer.status().as_u16())));
        let taken = memory_max(&serve) - before;
        println!("{what}, 8 at a time: {} MiB", taken / MIB);
        assert!(taken < 5 * 8 * body.len() as u64, "{what}: {} MiB", taken / MIB);
    }
}
