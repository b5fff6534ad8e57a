//! The stream from which an open page learns what changes.

use std::time::Duration;

use feebox::settings::Role;
use reqwest::Response;
use tokio::time::timeout;

use crate::support::{Api, Engine, TestDatabase};

const LIMIT: Duration = Duration::from_secs(30);

/// The stream's text from now on until it contains `part`.
async fn hears(stream: &mut Response, part: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(part) {
        let chunk = timeout(LIMIT, stream.chunk()).await.expect("it speaks").unwrap();
        heard += str::from_utf8(&chunk.unwrap_or_else(|| panic!("it ended after {heard:?}"))).unwrap();
    }
    heard
}

#[tokio::test]
async fn a_page_is_told_what_it_shows_and_then_what_changes() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let mut stream = api.get("/dashboard/live?call=/v1/quotes?limit=50&call=/v1/nothing").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(
        (&stream.headers()["x-accel-buffering"], &stream.headers()["cache-control"]),
        (&"no".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    let first = hears(&mut stream, r#""call":"/v1/quotes?limit=50","status":200,"age":0,"body":{"quotes":[]"#).await;
    assert!(first.contains("event: answer\n"), "{first}");
    let quote = api.submit().await;
    hears(&mut stream, quote["id"].as_str().unwrap()).await;
    hears(&mut stream, "event: beat").await;
}

#[tokio::test]
async fn a_stream_ends_when_its_server_leaves() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let mut stream = api.get("/dashboard/live?call=/v1/stats").await;
    hears(&mut stream, "event: answer").await;
    api.signals.drain.cancel();
    hears(&mut stream, "event: end").await;
    assert_eq!(timeout(LIMIT, stream.chunk()).await.expect("an end").unwrap(), None);
}

#[tokio::test]
async fn a_stream_is_for_viewers_and_tells_what_its_caller_may_see() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let tokens = [("shop", "s1", Role::Submitter), ("eye", "v1", Role::Viewer)];
    let api = Api::start_at(database.url(), &tokens).await;
    let live = "/dashboard/live?call=/v1/caller";
    let as_ = |token| api.request(reqwest::Method::GET, live).bearer_auth(token).send();
    assert_eq!(api.get(live).await.status(), 401);
    assert_eq!(as_("s1").await.unwrap().status(), 403);
    hears(&mut as_("v1").await.unwrap(), r#""body":{"name":"eye","role":"viewer""#).await;
    for wrong in ["", "?call=/metrics", "?call=/v1/stats&every=1s"] {
        let answer = api
            .request(reqwest::Method::GET, &format!("/dashboard/live{wrong}"))
            .bearer_auth("v1")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
}
