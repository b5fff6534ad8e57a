//! What clients of all kinds write in their own way, and mean the same.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Engine, TestDatabase, a_quote};

async fn api() -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    (database, api)
}

#[tokio::test]
async fn an_escaped_colon_in_a_path_is_a_colon() {
    let (_database, api) = api().await;
    for path in ["/v1/quotes:batch", "/v1/quotes%3Abatch", "/v1/quotes%3abatch"] {
        assert_eq!(api.post(path, &json!({"quotes": [a_quote()]})).await.status(), 201, "{path}");
    }
    for path in ["/v1/outbox:retry", "/v1/outbox%3Aretry"] {
        assert_eq!(api.post(path, &json!({"status": "dead"})).await.status(), 200, "{path}");
    }
    assert_eq!(api.post("/v1/quotes%253Abatch", &json!({"quotes": [a_quote()]})).await.status(), 404);
}

#[tokio::test]
async fn a_byte_order_mark_before_json_is_passed_over() {
    let (_database, api) = api().await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let post = async |path: &str, body: &str| {
        let call = api.request(Method::POST, path).header("content-type", "application/json");
        call.body(format!("\u{feff}{body}")).send().await.unwrap()
    };
    assert_eq!(post("/v1/quotes", &a_quote().to_string()).await.status(), 201);
    assert_eq!(post("/v1/quotes:batch", &json!({"quotes": [a_quote()]}).to_string()).await.status(), 201);
    assert_eq!(post(&format!("/v1/quotes/{id}/cancel"), r#"{"reason": "twice"}"#).await.status(), 200);
    // It is no body.
    assert_eq!(post(&format!("/v1/quotes/{id}/cancel"), "").await.status(), 200);
    // One is enough, and only at the beginning.
    assert_eq!(post("/v1/quotes", &format!("\u{feff}{}", a_quote())).await.status(), 400);
    let quote: Value = api.get(&format!("/v1/quotes/{id}")).await.json().await.unwrap();
    assert_eq!(quote["status_reason"], "twice");
}

#[tokio::test]
async fn identifiers_that_look_alike_are_refused() {
    let (_database, api) = api().await;
    for id in [" ", "\u{a0}", "cust\u{200b}", "\u{202e}42", "\u{feff}cust"] {
        let mut quote = a_quote();
        quote["customer_id"] = id.into();
        let answer = api.post("/v1/quotes", &quote).await;
        assert_eq!(answer.status(), 422, "{id:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["errors"][0]["pointer"], "/customer_id");
    }
    assert_eq!(api.stored().await, (0, 0));
}
