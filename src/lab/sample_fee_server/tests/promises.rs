//! The promises of the server without faults.

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::{BLINK, Faults, Setup, body};

#[tokio::test]
async fn one_key_makes_one_fee() {
    let setup = Setup::with(Faults::default()).await;
    let quote_id = Uuid::now_v7();
    let (status, fee) = setup.fee("a", quote_id).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&fee["amount_minor"], &fee["rate_bps"], &fee["currency"]), (&json!(250), &json!(250), &json!("EUR")));
    assert_eq!(setup.fee("a", quote_id).await, (StatusCode::OK, fee));
    assert_eq!(setup.fee("a", Uuid::now_v7()).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let counted = json!({
        "requests": 3, "distinct_keys": 1, "duplicates": 2, "fees": 1, "double_fees": 0, "voids": 0
    });
    assert_eq!(setup.get("/stats").await.1, counted);
}

#[tokio::test]
async fn concurrent_requests_with_one_key_make_one_fee() {
    let setup = Setup::with(Faults { latency: BLINK, jitter: BLINK, ..Faults::default() }).await;
    let quote_id = Uuid::now_v7();
    let answers = join_all((0..20).map(|_| setup.fee("a", quote_id))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().all(|(_, fee)| *fee == answers[0].1));
    assert_eq!(setup.server.fees().len(), 1);
    assert_eq!(setup.server.arrivals().len(), 20);
    assert!(setup.server.open_calls_max() > 1);
}

#[tokio::test]
async fn without_idempotency_every_request_makes_a_fee() {
    let setup = Setup::with(Faults { no_idempotency: true, ..Faults::default() }).await;
    let quote_id = Uuid::now_v7();
    assert_eq!(setup.fee("a", quote_id).await.0, StatusCode::CREATED);
    assert_eq!(setup.fee("a", quote_id).await.0, StatusCode::CREATED);
    let stats = setup.server.stats();
    assert_eq!((stats.fees, stats.double_fees, stats.duplicates), (2, 1, 1));
}

#[tokio::test]
async fn fees_are_looked_up_and_listed_until_they_are_voided() {
    let setup = Setup::with(Faults::default()).await;
    let quote_id = Uuid::now_v7();
    let lookup = format!("/v1/fees?quote_id={quote_id}");
    assert_eq!(setup.get(&lookup).await, (StatusCode::OK, json!({ "fees": [] })));
    assert_eq!(setup.void(quote_id).await, StatusCode::NOT_FOUND);

    let (_, fee) = setup.fee("a", quote_id).await;
    assert_eq!(setup.get(&lookup).await.1, json!({ "fees": [fee] }));
    let listed = json!({ "fees": [fee], "next": null });
    assert_eq!(setup.get("/v1/fees?created_after=2026-01-01T00:00:00Z").await.1, listed);
    assert_eq!(setup.get("/v1/fees?created_after=2999-01-01T00:00:00Z").await.1["fees"], json!([]));
    assert_eq!(setup.get("/v1/fees?created_after=yesterday").await.0, StatusCode::BAD_REQUEST);

    assert_eq!(setup.void(quote_id).await, StatusCode::NO_CONTENT);
    assert_eq!(setup.void(quote_id).await, StatusCode::NO_CONTENT);
    assert_eq!(setup.get(&lookup).await.1, json!({ "fees": [] }));
    assert_eq!(setup.server.stats().voids, 1);
}

#[tokio::test]
async fn without_look_up_asking_for_a_quote_is_not_found() {
    let setup = Setup::with(Faults { no_lookup: true, ..Faults::default() }).await;
    assert_eq!(setup.get(&format!("/v1/fees?quote_id={}", Uuid::now_v7())).await.0, StatusCode::NOT_FOUND);
    assert_eq!(setup.get("/v1/fees").await.0, StatusCode::OK, "the list is another call");
}

#[tokio::test]
async fn an_invalid_body_is_a_problem() {
    let setup = Setup::with(Faults::default()).await;
    let url = format!("{}/v1/fees", setup.server.base_url());
    let response = setup.client.post(url).body(r#"{"quote_id": 1}"#).send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(setup.server.stats().requests, 1);
}

#[tokio::test]
async fn a_required_token_is_required() {
    let setup = Setup::with(Faults { token: Some("right".into()), ..Faults::default() }).await;
    let url = format!("{}/v1/fees", setup.server.base_url());
    for (token, status) in [("wrong", StatusCode::UNAUTHORIZED), ("right", StatusCode::CREATED)] {
        let call = setup.client.post(&url).bearer_auth(token).json(&body(Uuid::now_v7()));
        assert_eq!(call.send().await.expect("answered").status(), status);
    }
    assert_eq!(setup.get("/v1/fees").await.0, StatusCode::UNAUTHORIZED);
}
