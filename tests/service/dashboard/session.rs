//! Log-in, and what a role sees.

use serde_json::json;

use super::Console;
use super::console::{LIMIT, TOKENS};
use crate::support::{Desk, Engine, eventually, http_client};

const WITH_TOKENS: [(&str, &str); 1] = [("FEEBOX__ACCESS__TOKENS", TOKENS)];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_begins_a_session_that_no_script_reads_and_an_expired_one_asks_again() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let console = Console::open_with(&desk, &WITH_TOKENS).await;
    console.go("events?status=dead").await;
    console.log_in("wrong-token").await;
    console.sees("main", "the token is unknown").await;
    console.log_in("boss-token").await;
    console.sees(".total", "1 event matches").await;
    console.sees("header", "boss, operator").await;

    let cookies = console.browser.cookies().await;
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!((&cookies[0]["httpOnly"], &cookies[0]["sameSite"]), (&json!(true), &json!("Strict")));
    assert_eq!(cookies[0]["session"], false, "it expires by itself");
    let readable =
        "return JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, document.body.innerHTML])";
    let readable = console.browser.run(readable, "").await.to_string();
    assert!(!readable.contains("boss-token") && !readable.contains("feebox_session"), "{readable}");

    console.browser.forget_cookies().await;
    // The next refresh finds out. The address stays.
    console.log_in("boss-token").await;
    console.sees(".total", "1 event matches").await;
    console.click_named("header", "Log out").await;
    console.waits_for("input[name=token]").await;
    assert!(console.browser.cookies().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_leads_who_is_logged_in_to_its_page() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let console = Console::open_with(&desk, &WITH_TOKENS).await;
    console.go("").await;
    console.log_in("boss-token").await;
    console.waits_for("#headline").await;
    // The browser keeps the session back from what another site makes it ask for.
    let link = format!("data:text/html,<a id=link href={}/events?status=dead>look</a>", console.base_url);
    console.browser.open(&link).await;
    console.click("#link").await;
    console.sees(".total", "1 event matches").await;
    console.click_named("header", "Log out").await;
    console.waits_for("input[name=token]").await;
    console.log_in("boss-token").await;
    console.sees(".total", "1 event matches").await;
    // It is told what changes, not only asked for.
    let streams = "return performance.getEntriesByType('resource').some((it) => it.name.includes('/dashboard/live'))";
    desk.submit_refused().await;
    console.sees(".total", "2 events match").await;
    console.browser.run("performance.clearResourceTimings()", "").await;
    desk.submit_refused().await;
    console.sees(".total", "3 events match").await;
    assert_eq!(console.browser.run(streams, "").await, false, "no stream has ended");
    let asked = "return performance.getEntriesByType('resource').filter((it) => it.initiatorType === 'fetch').length";
    assert_eq!(console.browser.run(asked, "").await, 0, "it is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_on_the_same_host_changes_nothing_by_the_session() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (quote, _) = desk.submit().await;
    let console = Console::open_with(&desk, &WITH_TOKENS).await;
    console.go("").await;
    console.log_in("boss-token").await;
    console.waits_for("#headline").await;
    let cookies = console.browser.cookies().await;
    let cookie = format!("feebox_session={}", cookies[0]["value"].as_str().unwrap());

    // What a form of a page on another port of this host makes the browser send: it has the cookie.
    let cancel = format!("{}/v1/quotes/{quote}/cancel", console.base_url);
    let call = || http_client().post(&cancel).header("cookie", &cookie);
    let foreign = [
        call(),
        call().header("sec-fetch-site", "same-site").header("origin", "http://127.0.0.1:1"),
        call().header("sec-fetch-site", "cross-site").header("feebox-dashboard", "1"),
    ];
    for call in foreign {
        assert_eq!(call.send().await.unwrap().status(), 403);
    }
    assert_eq!(desk.quote(quote).await.status, entity::quote::Status::Pending);
    let answer = call().header("sec-fetch-site", "same-origin").header("feebox-dashboard", "1").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let reads = http_client().get(format!("{}/v1/stats", console.base_url)).header("cookie", &cookie);
    assert_eq!(reads.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_everything_and_no_button_that_changes_anything() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (quote, event) = desk.submit_refused().await;
    let console = Console::open_with(&desk, &WITH_TOKENS).await;
    console.go("").await;
    console.log_in("eye-token").await;
    console.sees("header", "eye, viewer").await;
    let count = "return [...document.querySelectorAll('main button:not([type=submit])')].map((it) => it.innerText)";
    let pages = [
        (String::new(), vec![]),
        ("quotes".to_owned(), vec![]),
        ("workers".to_owned(), vec![]),
        ("actions".to_owned(), vec![]),
        ("causes".to_owned(), vec![]),
        ("events?status=dead".to_owned(), vec![]),
        (format!("events/{event}"), vec!["Copy as curl"]),
        (format!("quotes/{quote}"), vec![]),
        ("destinations".to_owned(), vec![]),
        ("promises".to_owned(), vec![]),
        ("settings".to_owned(), vec![]),
    ];
    for (address, buttons) in pages {
        console.go(&address).await;
        eventually(&address, LIMIT, async || {
            let text = console.browser.text("main").await;
            (text.len() > 60 && !text.contains("Loading")).then_some(())
        })
        .await;
        assert_eq!(console.browser.run(count, "").await, json!(buttons), "{address}");
        assert!(!console.has("main input[type=checkbox]").await, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_who_calls() {
    let desk = Desk::open(Engine::Sqlite).await;
    let console = Console::open_with(&desk, &WITH_TOKENS).await;
    let call = || http_client().get(format!("{}/v1/caller", console.base_url));
    assert_eq!(call().send().await.unwrap().status(), 401);
    let caller: serde_json::Value = call().bearer_auth("eye-token").send().await.unwrap().json().await.unwrap();
    assert_eq!(caller, json!({ "name": "eye", "role": "viewer", "has_token": true }));
}
