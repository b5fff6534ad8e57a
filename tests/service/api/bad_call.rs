//! Invalid calls with a valid body are refused, and nothing is stored.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Engine, TestDatabase, a_quote};

async fn api() -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    (database, api)
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let (_database, api) = api().await;
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        let mut call = api.request(Method::POST, "/v1/quotes").body(a_quote().to_string());
        if let Some(content_type) = content_type {
            call = call.header("Content-Type", content_type);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 415, "{content_type:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/unsupported-media-type");
    }
    let call = api.request(Method::POST, "/v1/quotes").body(a_quote().to_string());
    let call = call.header("Content-Type", "application/json").header("Content-Encoding", "gzip");
    assert_eq!(call.send().await.unwrap().status(), 415);
    assert_eq!(api.stored().await, (0, 0));
    let call = api.request(Method::POST, "/v1/quotes").body(a_quote().to_string());
    let call = call.header("Content-Type", "Application/JSON; charset=utf-8");
    assert_eq!(call.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn an_invalid_idempotency_key_is_refused() {
    let (_database, api) = api().await;
    for key in ["", " ", "two words", "t\tab", "schlüssel", &"k".repeat(256)] {
        let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
        let key = reqwest::header::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        let answer = call.header("Idempotency-Key", key.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{key:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/invalid-header");
    }
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    let answer = call.header("Idempotency-Key", "one").header("Idempotency-Key", "two").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(api.stored().await, (0, 0));
    for key in ["k", "!\"#~", &"k".repeat(255)] {
        assert_eq!(api.post_with_key("/v1/quotes", &a_quote(), key).await.status(), 201, "{key}");
    }
}

#[tokio::test]
async fn invalid_paths_and_parameters_are_refused() {
    let (_database, api) = api().await;
    let id = uuid::Uuid::now_v7();
    for path in [
        "/v1/quotes/42",
        "/v1/quotes/%FF",
        "/v1/quotes/not-a-uuid?wait=1",
        &format!("/v1/quotes/{id}?wait=31"),
        &format!("/v1/quotes/{id}?wait=-1"),
        &format!("/v1/quotes/{id}?wait=1.5"),
        &format!("/v1/quotes/{id}?wait="),
        &format!("/v1/quotes/{id}?wait=1&wait=2"),
        &format!("/v1/quotes/{id}?patience=1"),
        "/v1/quotes?limit=0",
        "/v1/quotes?limit=201",
        "/v1/quotes?limit=99999999999999999999",
        "/v1/quotes?status=done",
        "/v1/quotes?status=Pending",
        "/v1/quotes?customer_id=",
        "/v1/quotes?customer_id=%00",
        "/v1/quotes?cursor=abc",
        "/v1/quotes?page=2",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/invalid-parameter", "{path}");
    }
    let answer = api.get("/v1/quotes?limit=0&status=done&page=2").await;
    let detail = answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(["limit", "status", "page"].iter().all(|name| detail.contains(name)), "{detail}");
    for path in [format!("/v1/quotes/{id}"), format!("/v1/quotes/{id}?wait=5")] {
        let answer = api.get(&path).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/not-found");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_with_problems() {
    let (_database, api) = api().await;
    for path in ["/nowhere", "/v1", "/v1/quotes/", "/v1/quotes:bulk", "/v1/quotes/1/2/3", "/docs/nothing.js"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/quotes", "GET,HEAD,POST"),
        (Method::GET, "/v1/quotes:batch", "POST"),
        (Method::PUT, "/v1/quotes/1", "GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = api.request(method, path).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().to_owned();
        let mut allowed: Vec<_> = allowed.split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/method-not-allowed");
    }
}

#[tokio::test]
async fn what_a_database_refuses_is_the_callers_fault() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start(&database).await;
        for path in [
            "/v1/quotes?customer_id=a%00",
            "/v1/quotes?status=%00",
            "/v1/quotes?cursor=%00",
            "/v1/quotes?%00=1",
            "/v1/quotes/%00",
            "/v1/outbox?destination=%00",
            "/v1/outbox?event_type=a%00b",
            "/v1/outbox?quote_id=%00",
            "/v1/outbox?status=%1B",
            "/v1/outbox/%00/explain",
            "/v1/actions?quote_id=%00",
        ] {
            assert_eq!(api.get(path).await.status(), 400, "{engine:?} {path}");
        }
        for path in ["/v1/destinations/%00/pause", "/v1/destinations/fee-server%00/resume", "/v1/outbox/%00/retry"] {
            assert_eq!(api.post(path, &json!({})).await.status(), 400, "{engine:?} {path}");
        }
        // Valid text finds nothing, and so does a made-up cursor.
        for path in [
            "/v1/quotes?customer_id=%F0%9F%92%A9%EF%BF%BF",
            "/v1/outbox?destination=%ED%A0%80",
            "/v1/outbox?destination=%27%3B--&event_type=%5C%25_",
            "/v1/quotes?cursor=Af____________________8",
            "/v1/outbox?cursor=AQAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(api.get(path).await.status(), 200, "{engine:?} {path}");
        }
        let bulk = json!({"status": "dead", "error_contains": "a\0b", "destination": "\u{1}"});
        assert_eq!(api.post("/v1/outbox:retry", &bulk).await.status(), 422, "{engine:?}");
        for (name, value) in [("traceparent", "\u{ff}"), ("authorization", "Bearer \u{ff}\u{e9}")] {
            let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let status = api.request(Method::GET, "/v1/quotes").header(name, value).send().await.unwrap().status();
            assert!(!status.is_server_error(), "{engine:?} {name}: {status}");
        }
    }
}
