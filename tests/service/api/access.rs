//! Who may call what.

use feebox::lab::sample_fee_server::Faults;
use feebox::settings::Role;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Api, Engine, LIMIT, Stage, TestDatabase, a_quote, http_client};

const TOKENS: [(&str, &str, Role); 4] = [
    ("shop", "shop-token", Role::Submitter),
    ("other-shop", "other-shop-token", Role::Submitter),
    ("eye", "eye-token", Role::Viewer),
    ("boss", "boss-token", Role::Operator),
];

async fn api() -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_at(database.url(), &TOKENS).await;
    (database, api)
}

async fn submit(api: &Api, authorization: &str) -> Response {
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    call.header("Authorization", authorization).send().await.unwrap()
}

#[tokio::test]
async fn a_missing_or_unknown_token_is_refused() {
    let (_database, api) = api().await;
    let id = uuid::Uuid::now_v7();
    for (method, path) in [
        (Method::POST, "/v1/quotes".to_owned()),
        (Method::POST, "/v1/quotes:batch".to_owned()),
        (Method::GET, "/v1/quotes".to_owned()),
        (Method::GET, format!("/v1/quotes/{id}")),
        (Method::POST, format!("/v1/quotes/{id}/cancel")),
    ] {
        for authorization in
            [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic c2hvcDpzaG9w"), Some("shop-token")]
        {
            let mut call = api.request(method.clone(), &path).json(&a_quote());
            if let Some(authorization) = authorization {
                call = call.header("Authorization", authorization);
            }
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path} {authorization:?}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }
    assert_eq!(api.stored().await, (0, 0));
}

#[tokio::test]
async fn only_submitters_and_operators_submit() {
    let (_database, api) = api().await;
    assert_eq!(submit(&api, "Bearer shop-token").await.status(), 201);
    assert_eq!(submit(&api, "bearer boss-token").await.status(), 201);
    let answer = submit(&api, "Bearer eye-token").await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/forbidden");
    assert_eq!(api.stored().await, (2, 2));

    for token in ["shop-token", "eye-token", "boss-token"] {
        let read = api.request(Method::GET, "/v1/quotes").bearer_auth(token).send().await.unwrap();
        assert_eq!(read.status(), 200, "{token}");
    }
    let quotes: Value =
        api.request(Method::GET, "/v1/quotes").bearer_auth("eye-token").send().await.unwrap().json().await.unwrap();
    let cancel = format!("/v1/quotes/{}/cancel", quotes["quotes"][1]["id"].as_str().unwrap());
    for (token, status) in [("eye-token", 403), ("shop-token", 200), ("boss-token", 200)] {
        let answer = api.request(Method::POST, &cancel).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), status, "{token}");
    }
}

#[tokio::test]
async fn idempotency_keys_are_scoped_to_the_caller() {
    let (_database, api) = api().await;
    for (token, replayed) in [("shop-token", false), ("other-shop-token", false), ("shop-token", true)] {
        let call = api.request(Method::POST, "/v1/quotes").json(&a_quote()).bearer_auth(token);
        let answer = call.header("Idempotency-Key", "key").send().await.unwrap();
        assert_eq!(answer.status(), 201, "{token}");
        assert_eq!(answer.headers().contains_key("idempotency-replayed"), replayed, "{token}");
    }
    assert_eq!(api.stored().await, (2, 2));
}

#[tokio::test]
async fn health_and_api_documents_need_no_token() {
    let (_database, api) = api().await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs/"] {
        assert_eq!(api.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(api.get("/nowhere").await.status(), 404);
}

#[tokio::test]
async fn without_tokens_pages_of_other_sites_are_refused() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    for (name, value) in [("Origin", "https://evil.example"), ("Origin", "null"), ("Host", "evil.example")] {
        let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
        let answer = call.header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}: {value}");
    }
    assert_eq!(api.stored().await, (0, 0));
    // A proxy on this machine passes on what comes from anywhere.
    for name in ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"] {
        let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
        assert_eq!(call.header(name, "203.0.113.7").send().await.unwrap().status(), 403, "{name}");
    }
    assert_eq!(api.stored().await, (0, 0));
    let own = format!("http://{}", api.addr());
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    assert_eq!(call.header("Origin", own).send().await.unwrap().status(), 201);
    assert_eq!(api.post("/v1/quotes:batch", &json!({"quotes": [a_quote()]})).await.status(), 201);
}

#[tokio::test]
async fn wrong_tokens_are_counted() {
    let (_database, api) = api().await;
    let counted = async |why: &str| {
        let page = api.get("/metrics").await.text().await.unwrap();
        let name = format!("feebox_access_refused_total{{why=\"{why}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    // Other tests of this process count too.
    let before = [counted("no_token").await, counted("unknown_token").await, counted("role").await];
    for _ in 0..5 {
        assert_eq!(api.get("/v1/quotes").await.status(), 401);
        assert_eq!(api.request(Method::GET, "/v1/quotes").bearer_auth("guess").send().await.unwrap().status(), 401);
        assert_eq!(api.request(Method::GET, "/v1/stats").bearer_auth("shop-token").send().await.unwrap().status(), 403);
        // The dashboard's pages are no way to try tokens unseen.
        assert_eq!(api.request(Method::GET, "/").bearer_auth("guess").send().await.unwrap().status(), 401);
        assert_eq!(api.request(Method::GET, "/events").bearer_auth("shop-token").send().await.unwrap().status(), 403);
    }
    let after = [counted("no_token").await, counted("unknown_token").await, counted("role").await];
    let more = [5, 10, 10];
    let counted = before.iter().zip(more).zip(after).all(|((before, more), after)| after >= before + more);
    assert!(counted, "{before:?} {after:?}");
}

#[tokio::test]
async fn whoever_guesses_tokens_leaves_one_line_that_says_from_where_and_not_what_was_guessed() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let tokens = format!("[{{name = 'boss', sha256 = '{}', role = 'operator'}}]", "0".repeat(64));
    let (serve, base_url) = stage.serve(&[("access.tokens", &tokens)], &[]).await;
    for number in 0..200 {
        let call = http_client().get(format!("{base_url}/v1/stats")).bearer_auth(format!("guess-{number}"));
        assert_eq!(call.send().await.unwrap().status(), 401);
    }
    let about = |line: &str| line.contains("refused requests without the right to make them");
    let line = serve.wait_for_line(LIMIT, about).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["client"], &line["why"]), (&json!("127.0.0.1"), &json!("unknown_token")), "{line}");
    // At most one in ten seconds, and 200 calls may take as long as two or three of these.
    let lines = serve.lines();
    assert!(lines.iter().filter(|line| about(line)).count() < 10, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("guess-")), "{lines:#?}");
}

#[tokio::test]
async fn a_session_ends_when_its_token_is_taken_out_of_the_settings() {
    let (database, api) = api().await;
    let other = TOKENS.iter().filter(|(name, ..)| *name != "eye").copied().collect::<Vec<_>>();
    let after = Api::start_at(database.url(), &other).await;
    let token = data_encoding::HEXLOWER.encode(b"eye-token");
    for (api, status) in [(&api, 200), (&after, 401)] {
        let call = api.request(Method::GET, "/v1/stats").header("cookie", format!("feebox_session={token}"));
        assert_eq!(call.send().await.unwrap().status(), status);
    }
}
