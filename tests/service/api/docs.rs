//! The API's own description.

use serde_json::Value;

use crate::support::{Api, Engine, TestDatabase, a_quote};

async fn api() -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    (database, api)
}

#[tokio::test]
async fn the_api_describes_itself() {
    let (_database, api) = api().await;
    let answer = api.get("/openapi.json").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document, serde_json::to_value(feebox::http::openapi()).unwrap());
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn every_reference_in_the_document_resolves() {
    let document = serde_json::to_value(feebox::http::openapi()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn every_problem_type_has_a_page() {
    let (_database, api) = api().await;
    let document: Value = api.get("/openapi.json").await.json().await.unwrap();
    let description = document["info"]["description"].as_str().unwrap();
    let types: Vec<_> = description.split("| `").filter_map(|row| row.split('`').next()).collect();
    let types: Vec<_> = types.into_iter().filter(|name| name.starts_with("/problems/")).collect();
    assert!(types.len() > 20, "{types:?}");
    let list = api.get("/problems").await.text().await.unwrap();
    for name in types {
        let answer = api.get(name).await;
        assert_eq!(answer.status(), 200, "{name}");
        let page = answer.text().await.unwrap();
        assert!(page.contains(&format!("href=\"{name}\"")) && list.contains(name), "{page}");
    }
    let answer = api.get("/problems/%3Cscript%3E").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
}

#[tokio::test]
async fn the_api_page_loads_nothing_from_other_hosts() {
    let (_database, api) = api().await;
    let answer = api.get("/docs").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/docs/"));
    let answer = api.get("/docs/").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self'; "), "{policy}");
    assert!(!policy.contains("http"), "{policy}");
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = answer.text().await.unwrap();
    let is_file = |text: &&str| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end));
    let loaded: Vec<&str> = page.split(['"', '\'']).filter(is_file).collect();
    assert!(loaded.len() >= 5, "{page}");
    assert!(!page.contains("//") && !page.contains("<style") && !page.contains("<script>"), "{page}");
    for file in loaded {
        let path = format!("/docs/{}", file.trim_start_matches("./"));
        let answer = api.get(&path).await;
        assert_eq!(answer.status(), 200, "{path}");
        if path.ends_with("initializer.js") {
            let script = answer.text().await.unwrap();
            assert!(script.contains("/openapi.json") && script.contains("\"validatorUrl\": \"none\""), "{script}");
            assert!(!script.contains("http"), "{script}");
        } else if answer.headers()["content-type"] == "text/css" {
            let sheet = answer.text().await.unwrap();
            assert!(!sheet.contains("@import"), "{path}");
            assert!(sheet.split("url(").skip(1).all(|url| url.trim_start_matches(['"', '\'']).starts_with("data:")));
        }
    }
}

#[tokio::test]
async fn every_answer_has_security_headers() {
    let (_database, api) = api().await;
    let refused = api.post("/v1/quotes", &Value::Null).await;
    let stored = api.post("/v1/quotes", &a_quote()).await;
    for answer in [refused, stored, api.get("/nowhere").await, api.get("/docs/").await, api.get("/healthz").await] {
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{}", answer.url());
        assert_eq!(headers["referrer-policy"], "no-referrer", "{}", answer.url());
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}
