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
async fn a_page_is_told_as_it_is_and_then_when_it_changes() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let mut stream = api.get("/dashboard/live?page=/quotes").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(
        (&stream.headers()["x-accel-buffering"], &stream.headers()["cache-control"]),
        (&"no".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    let first = hears(&mut stream, "No quote matches.").await;
    assert!(first.contains("event: page\n"), "{first}");
    let quote = api.submit().await;
    hears(&mut stream, quote["id"].as_str().unwrap()).await;
    hears(&mut stream, "event: beat").await;
}

#[tokio::test]
async fn what_can_be_asked_for_only_when_an_event_is_known_is_told_with_its_page() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    api.submit().await;
    let events: serde_json::Value = api.get("/v1/outbox").await.json().await.unwrap();
    let event = events["events"][0]["id"].as_str().unwrap();
    let mut stream = api.get(&format!("/dashboard/live?page=/events/{event}")).await;
    let told = hears(&mut stream, "</html>").await;
    assert_eq!(told.matches("event: page").count(), 1, "{told}");
    assert!(told.contains("data-list=\"neighbours\"") && told.contains("this event"), "{told}");
    // A page of something that is not there is told, too, and stays open: it may come.
    let mut none = api.get("/dashboard/live?page=/events/01a21d83-f498-71a0-aff3-68066ccafa7b").await;
    hears(&mut none, "There is nothing with this id").await;
    hears(&mut none, "event: beat").await;
}

#[tokio::test]
async fn a_stream_ends_when_its_server_leaves() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let mut stream = api.get("/dashboard/live?page=/").await;
    hears(&mut stream, "event: page").await;
    api.signals.drain.cancel();
    hears(&mut stream, "event: end").await;
    assert_eq!(timeout(LIMIT, stream.chunk()).await.expect("an end").unwrap(), None);
}

#[tokio::test]
async fn a_stream_is_for_viewers_and_tells_what_its_caller_may_see() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let tokens = [("shop", "s1", Role::Submitter), ("eye", "v1", Role::Viewer)];
    let api = Api::start_at(database.url(), &tokens).await;
    let live = "/dashboard/live?page=/workers";
    let as_ = |token| api.request(reqwest::Method::GET, live).bearer_auth(token).send();
    assert_eq!(api.get(live).await.status(), 401);
    assert_eq!(as_("s1").await.unwrap().status(), 403);
    hears(&mut as_("v1").await.unwrap(), "eye, viewer").await;
    for wrong in ["", "?page=/metrics", "?page=/workers&every=1s"] {
        let answer = api
            .request(reqwest::Method::GET, &format!("/dashboard/live{wrong}"))
            .bearer_auth("v1")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
}
