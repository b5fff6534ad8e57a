//! What becomes of calls that live in a process's memory when the process ends.

use std::time::Duration;

use entity::quote::Status;
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, Process, Signal, TestDatabase, a_quote, free_port, http_client, open};

const LIMIT: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_process_that_is_told_to_stop_waits_for_its_calls() {
    let service = Service::start("after-commit", &[]).await;
    let quote = service.submit().await.unwrap();
    service.process.signal(Signal::Terminate);
    assert!(service.process.wait(LIMIT).await.success());
    assert_eq!(service.status(quote).await, Some(Status::Confirmed));
}

#[tokio::test]
async fn a_process_that_is_killed_loses_its_calls() {
    let service = Service::start("after-commit", &[]).await;
    let quote = service.submit().await.unwrap();
    service.process.signal(Signal::Kill);
    assert!(!service.process.wait(LIMIT).await.success());
    assert_eq!(service.status(quote).await, Some(Status::Pending), "accepted, and nobody remembers the fee");
}

#[tokio::test]
async fn a_process_that_dies_before_the_commit_leaves_a_ghost_if_it_has_called() {
    for (strategy, ghosts) in [("in-transaction", 1), ("after-commit", 0), ("outbox", 0)] {
        let service = Service::start(strategy, &[("FEEBOX_CRASH_AT", "before-commit")]).await;
        assert!(service.submit().await.is_none(), "the process died in the call");
        service.process.wait(LIMIT).await;
        assert_eq!(service.fee_server.fees_in_force().len(), ghosts, "{strategy}");
    }
}

#[tokio::test]
async fn in_transaction_a_destination_that_is_away_is_no_fault_of_the_client() {
    let service = Service::start("in-transaction", &[]).await;
    service.fee_server.down().await.unwrap();
    let url = format!("{}/v1/quotes", service.base_url);
    let answer = http_client().post(url).json(&a_quote()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/destination-unavailable", "{problem}");
}

#[tokio::test]
async fn in_transaction_the_quotes_of_a_batch_are_handed_over_at_once() {
    let service = Service::start("in-transaction", &[]).await;
    let quotes = vec![a_quote(); 30];
    let url = format!("{}/v1/quotes:batch", service.base_url);
    // One after the other they would take 21 s, and the call 10 s at most.
    let answer = http_client().post(url).json(&json!({ "quotes": quotes })).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(service.fee_server.fees_in_force().len(), 30);
}

#[tokio::test]
async fn a_share_of_submissions_is_rolled_back_on_purpose() {
    let service = Service::start("outbox", &[("FEEBOX_ROLLBACK_RATE", "1")]).await;
    assert!(service.submit().await.is_none());
}

/// `feebox serve` with a strategy, on an `SQLite` file.
struct Service {
    process: Process,
    database: TestDatabase,
    fee_server: SampleFeeServer,
    base_url: String,
}

impl Service {
    async fn start(strategy: &str, env: &[(&str, &str)]) -> Service {
        let database = TestDatabase::migrated(Engine::Sqlite).await;
        let faults = Faults { latency: SLOW, ..Faults::default() };
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await.unwrap();
        let bind = format!("127.0.0.1:{}", free_port());
        let (base_url, fee_server_url) = (format!("http://{bind}"), fee_server.base_url());
        let settings = [
            ("DATABASE_URL", database.url()),
            ("FEEBOX__FEE_SERVER__BASE_URL", &fee_server_url),
            ("FEEBOX__SUBMISSION__STRATEGY", strategy),
            ("FEEBOX__SERVER__DRAIN", "0s"),
        ];
        let process = Process::start(&["serve", "--bind", &bind], &[&settings, env].concat());
        process.wait_ready(&base_url, LIMIT).await;
        Service { process, database, fee_server, base_url }
    }

    /// The quote's id, if it was accepted.
    async fn submit(&self) -> Option<Uuid> {
        let url = format!("{}/v1/quotes", self.base_url);
        let answer = http_client().post(url).json(&a_quote()).send().await.ok()?;
        let quote: Value = answer.error_for_status().ok()?.json().await.unwrap();
        quote["id"].as_str().map(|id| id.parse().unwrap())
    }

    async fn status(&self, quote: Uuid) -> Option<Status> {
        let db = open(self.database.url()).await;
        feebox::quotes::status(db.connection(), quote, None).await.unwrap()
    }
}
