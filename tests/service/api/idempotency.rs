//! One key stands for one submission, whoever repeats it and however often.

use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{Api, Engine, TestDatabase, a_quote};

const ROUNDS: i64 = 50;

#[tokio::test]
async fn a_repeated_key_gets_the_first_answer() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start(&database).await;
        let first = api.post_with_key("/v1/quotes", &a_quote(), "key").await;
        assert_eq!(first.status(), 201, "{engine:?}");
        assert!(!first.headers().contains_key("idempotency-replayed"));
        let location = first.headers()["location"].clone();
        let first = first.text().await.unwrap();
        // The quote has changed since, but the answer is the same, byte by byte.
        api.execute("UPDATE quote SET status = 'rejected', status_reason = 'so it is'").await;
        let again = api.post_with_key("/v1/quotes", &a_quote(), "key").await;
        assert_eq!(again.status(), 201, "{engine:?}");
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(again.headers()["location"], location);
        assert_eq!(again.text().await.unwrap(), first, "{engine:?}");
        assert_eq!(api.stored().await, (1, 1), "{engine:?}");
        // White space and the order of fields do not matter.
        let spaced = serde_json::to_string_pretty(&a_quote()).unwrap();
        let call = api.request(reqwest::Method::POST, "/v1/quotes").body(spaced);
        let call = call.header("Content-Type", "application/json").header("Idempotency-Key", "key");
        assert_eq!(call.send().await.unwrap().status(), 201, "{engine:?}");
        assert_eq!(api.stored().await, (1, 1), "{engine:?}");
    }
}

#[tokio::test]
async fn a_repeated_key_with_another_body_is_refused() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start(&database).await;
        assert_eq!(api.post_with_key("/v1/quotes", &a_quote(), "key").await.status(), 201, "{engine:?}");
        let mut other = a_quote();
        other["lines"][0]["quantity"] = json!(3);
        let answer = api.post_with_key("/v1/quotes", &other, "key").await;
        assert_eq!(answer.status(), 422, "{engine:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/key-reused");
        // Keys are case-sensitive, even where the database's collation is not.
        assert_eq!(api.post_with_key("/v1/quotes", &other, "KEY").await.status(), 201, "{engine:?}");
        assert_eq!(api.stored().await, (2, 2), "{engine:?}");
    }
}

#[tokio::test]
async fn a_batch_uses_one_key_and_an_invalid_body_uses_none() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start(&database).await;
        let batch = json!({"quotes": [a_quote(), a_quote(), a_quote()]});
        assert_eq!(api.post_with_key("/v1/quotes:batch", &json!({"quotes": [1]}), "key").await.status(), 422);
        let first = api.post_with_key("/v1/quotes:batch", &batch, "key").await.text().await.unwrap();
        let again = api.post_with_key("/v1/quotes:batch", &batch, "key").await;
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(again.text().await.unwrap(), first, "{engine:?}");
        assert_eq!(api.post_with_key("/v1/quotes", &a_quote(), "key").await.status(), 422, "{engine:?}");
        assert_eq!(api.stored().await, (3, 3), "{engine:?}");
    }
}

#[tokio::test]
async fn two_concurrent_requests_with_one_key_store_one_quote() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        // For the submission these are two processes.
        let servers = [Api::start(&database).await, Api::start(&database).await].map(Arc::new);
        for round in 1..=ROUNDS {
            let barrier = Arc::new(Barrier::new(4));
            let calls = [0, 1, 0, 1].map(|server| {
                let (api, barrier): (Arc<Api>, _) = (Arc::clone(&servers[server]), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    let answer = api.post_with_key("/v1/quotes", &a_quote(), &format!("key-{round}")).await;
                    let replayed = answer.headers().contains_key("idempotency-replayed");
                    (answer.status(), replayed, answer.json::<Value>().await.unwrap())
                })
            });
            let mut stored = Vec::new();
            let mut replayed = Vec::new();
            for call in calls {
                match call.await.unwrap() {
                    (StatusCode::CREATED, false, quote) => stored.push(quote),
                    (StatusCode::CREATED, true, quote) => replayed.push(quote),
                    (StatusCode::CONFLICT, _, problem) => assert_eq!(problem["type"], "/problems/key-in-flight"),
                    (status, _, body) => panic!("{engine:?}, round {round}: {status} {body}"),
                }
            }
            assert_eq!(stored.len(), 1, "{engine:?}, round {round}: {stored:?}");
            assert!(replayed.iter().all(|quote| *quote == stored[0]), "{engine:?}, round {round}");
            assert_eq!(servers[0].stored().await, (round, round), "{engine:?}, round {round}");
        }
    }
}
