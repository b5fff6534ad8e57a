//! Whatever is wrong with a call is said, all at once and at its place, and nothing is stored.

use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Api, Engine, TestDatabase, a_quote};

async fn api() -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    (database, api)
}

/// Sends `body` and returns the problem's faults as (pointer, detail); asserts that nothing was stored.
async fn faults(api: &Api, path: &str, body: &Value) -> Vec<(String, String)> {
    let answer = api.post(path, body).await;
    assert_eq!(answer.status(), 422, "{body}");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/invalid-body");
    assert_eq!(api.stored().await, (0, 0), "{body}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|fault| (text(&fault["pointer"]), text(&fault["detail"]))).collect()
}

async fn pointers(api: &Api, path: &str, body: &Value) -> Vec<String> {
    faults(api, path, body).await.into_iter().map(|(pointer, _)| pointer).collect()
}

/// Sends raw bytes as JSON and returns the status and the problem; asserts that nothing was stored.
async fn refused(api: &Api, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let call = api.request(Method::POST, path).header("Content-Type", "application/json").body(body);
    let answer = call.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(api.stored().await, (0, 0));
    (status, answer.json().await.unwrap())
}

#[tokio::test]
async fn an_invalid_body_gets_all_errors_at_once() {
    let (_database, api) = api().await;
    let body = json!({
        "customer_id": 42,
        "currency": "eur",
        "lines": [
            {"description": "", "quantity": 0, "unit_price_minor": 12.5},
            {"description": "right", "quantity": "2", "unit_price_minor": 100, "discount/percent": 5},
            {"quantity": 1, "unit_price_minor": u64::MAX},
            "four",
        ],
        "priority": "high",
    });
    let answer = api.post("/v1/quotes", &body).await;
    assert_eq!(answer.status(), 422);
    insta::assert_json_snapshot!(answer.json::<Value>().await.unwrap());
    assert_eq!(api.stored().await, (0, 0));
}

#[tokio::test]
async fn every_limit_of_a_field_is_enforced() {
    let (_database, api) = api().await;
    let cases: &[(&str, Value)] = &[
        ("/customer_id", json!("")),
        ("/customer_id", json!("x".repeat(65))),
        ("/customer_id", json!("nul\0")),
        ("/customer_id", json!(null)),
        ("/currency", json!("EURO")),
        ("/currency", json!("XYZ")),
        ("/currency", json!(["EUR"])),
        ("/lines", json!([])),
        ("/lines", json!({})),
        ("/lines", json!(vec![a_quote()["lines"][0].clone(); 101])),
        ("/lines/0", json!(null)),
        ("/lines/0/description", json!("x".repeat(201))),
        ("/lines/0/quantity", json!(0)),
        ("/lines/0/quantity", json!(-1)),
        ("/lines/0/quantity", json!(1_000_001)),
        ("/lines/0/quantity", json!(1.0)),
        ("/lines/0/quantity", json!(true)),
        ("/lines/1/unit_price_minor", json!(-1)),
        ("/lines/1/unit_price_minor", json!(1_000_000_000_001_u64)),
        ("/lines/1/unit_price_minor", json!(i64::MAX)),
        ("/lines/1/unit_price_minor", json!(u64::MAX)),
        ("/lines/1/unit_price_minor", json!(1e19)),
        ("/lines/1/unit_price_minor", json!("100")),
    ];
    for (pointer, value) in cases {
        let mut quote = a_quote();
        *quote.pointer_mut(pointer).unwrap() = value.clone();
        assert_eq!(pointers(&api, "/v1/quotes", &quote).await, [*pointer], "{value}");
        let batch = json!({"quotes": [a_quote(), quote]});
        assert_eq!(pointers(&api, "/v1/quotes:batch", &batch).await, [format!("/quotes/1{pointer}")], "{value}");
    }
}

#[tokio::test]
async fn a_sum_that_not_every_json_reader_keeps_is_an_error_of_the_lines() {
    let (_database, api) = api().await;
    let line = json!({"description": "dear", "quantity": 1_000_000, "unit_price_minor": 1_000_000_000_000_u64});
    let mut quote = a_quote();
    quote["lines"] = json!(vec![line; 10]);
    let faults = faults(&api, "/v1/quotes", &quote).await;
    let detail = "adds up to 10000000000000000000; send at most 9007199254740991";
    assert_eq!(faults, [("/lines".to_owned(), detail.to_owned())]);
}

#[tokio::test]
async fn a_body_that_is_not_an_object_has_one_error_at_its_root() {
    let (_database, api) = api().await;
    for body in [json!([]), json!(null), json!(1), json!("x"), json!(true)] {
        assert_eq!(pointers(&api, "/v1/quotes", &body).await, [""], "{body}");
        assert_eq!(pointers(&api, "/v1/quotes:batch", &body).await, [""], "{body}");
    }
    let missing = pointers(&api, "/v1/quotes", &json!({})).await;
    assert_eq!(missing, ["/customer_id", "/currency", "/lines"]);
}

#[tokio::test]
async fn a_batch_has_1_to_1000_quotes_and_reports_errors_by_quote() {
    let (_database, api) = api().await;
    assert_eq!(pointers(&api, "/v1/quotes:batch", &json!({"quotes": []})).await, ["/quotes"]);
    let many = json!({"quotes": vec![a_quote(); 1_001]});
    assert_eq!(pointers(&api, "/v1/quotes:batch", &many).await, ["/quotes"]);
    let mut batch = json!({"quotes": vec![a_quote(); 5], "atomic": true});
    batch["quotes"][1]["currency"] = json!("???");
    batch["quotes"][3]["lines"][0]["quantity"] = json!(0);
    batch["quotes"][4] = json!(4);
    let expected = ["/atomic", "/quotes/1/currency", "/quotes/3/lines/0/quantity", "/quotes/4"];
    assert_eq!(pointers(&api, "/v1/quotes:batch", &batch).await, expected);
}

#[tokio::test]
async fn errors_beyond_1000_are_only_counted() {
    let (_database, api) = api().await;
    let answer = api.post("/v1/quotes:batch", &json!({"quotes": vec![json!({"a": 1, "b": 1}); 1_000]})).await;
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1_000);
    assert_eq!(problem["detail"], "5000 errors, the first 1000 are listed; nothing was stored");
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_position() {
    let (_database, api) = api().await;
    let (status, problem) = refused(&api, "/v1/quotes", "{\n  \"customer_id\": \"a\",\n  oops\n}").await;
    assert_eq!((status, &problem["type"]), (400, &json!("/problems/malformed-json")));
    assert_eq!(problem["detail"], "key must be a string at line 3 column 3");
    let twice = a_quote().to_string().replacen('{', "{\"currency\":\"USD\",", 1);
    let (status, problem) = refused(&api, "/v1/quotes", twice).await;
    assert_eq!((status, &problem["type"]), (400, &json!("/problems/malformed-json")));
    assert!(problem["detail"].as_str().unwrap().starts_with("the key \"currency\" is repeated"), "{problem}");
    for body in ["", "{", "\u{feff}", "{}{}", "NaN", "{\"customer_id\": 1e999}"] {
        assert_eq!(refused(&api, "/v1/quotes", body).await.0, 400, "{body}");
    }
    assert_eq!(refused(&api, "/v1/quotes", b"{\"customer_id\": \"\xff\"}".as_slice()).await.0, 400);
    assert_eq!(refused(&api, "/v1/quotes", "[".repeat(200_000)).await.0, 400);
}

#[tokio::test]
async fn the_limit_of_the_body_is_exact() {
    let (_database, api) = api().await;
    for (path, limit) in [("/v1/quotes", 256 * 1024), ("/v1/quotes:batch", 8 * 1024 * 1024)] {
        let largest = format!("{{}}{}", " ".repeat(limit - 2));
        assert_eq!(refused(&api, path, largest.clone()).await.0, 422, "{path}");
        let (status, problem) = refused(&api, path, largest + " ").await;
        assert_eq!((status, &problem["type"]), (413, &json!("/problems/body-too-large")), "{path}");
        // Also one without Content-Length, and one that is much larger.
        let mut stream = head(&api, path, "Transfer-Encoding: chunked\r\nConnection: close").await;
        let mebibyte = [format!("{:x}\r\n", 1024 * 1024).as_bytes(), &vec![b' '; 1024 * 1024], b"\r\n"].concat();
        for _ in 0..10 {
            stream.write_all(&mebibyte).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(answer(stream).await.starts_with("HTTP/1.1 413 "), "{path}");
    }
}

#[tokio::test]
async fn a_cancellation_accepts_only_a_reason() {
    let (_database, api) = api().await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/quotes/{id}/cancel");
    for (body, pointer) in [
        (json!({"reason": ""}), "/reason"),
        (json!({"reason": 1}), "/reason"),
        (json!({"reason": null}), "/reason"),
        (json!({"reason": "x".repeat(501)}), "/reason"),
        (json!({"why": "x"}), "/why"),
        (json!([]), ""),
    ] {
        let answer = api.post(&path, &body).await;
        assert_eq!(answer.status(), 422, "{body}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let as_text = api.request(Method::POST, &path).body("{}").send().await.unwrap();
    assert_eq!(as_text.status(), 415);
    let quote: Value = api.get(&format!("/v1/quotes/{id}")).await.json().await.unwrap();
    assert_eq!(quote["status"], "pending");
}

#[tokio::test]
async fn an_interrupted_request_stores_nothing() {
    let (_database, api) = api().await;
    let mut stream = head(&api, "/v1/quotes", "Content-Length: 9999").await;
    stream.write_all(a_quote().to_string().as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(!answer(stream).await.contains(" 201 "));
    assert_eq!(api.stored().await, (0, 0));
}

/// A connection on which the head of a submission was sent.
async fn head(api: &Api, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(api.addr()).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection ends.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
