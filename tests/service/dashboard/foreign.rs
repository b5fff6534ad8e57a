//! What others leave at the dashboard's address, put before it, or take away from under it.

use serde_json::json;

use super::Console;
use super::console::{LIMIT, TOKENS};
use crate::support::{Desk, Engine, Proxy, RawServer, Reply, eventually};

/// Retries the event whose page is open, and sees it.
async fn retry(console: &Console) {
    console.mark().await;
    console.click_named(".bar", "Retry").await;
    console.confirm("it is known now").await;
    console.sees(".notices", "is due now").await;
    console.sees("#explain", "run of a worker takes it").await;
    console.was_not_reloaded().await;
    // What was answered before will not do now.
    let is_fresh = "import('/dashboard/api.js').then((it) => arguments[1](it.freshSince() > 0))";
    assert_eq!(console.browser.run_async(is_fresh, "").await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_software_left_in_this_browser_breaks_no_page() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go("").await;
    // All the room that a site has, in ever smaller pieces.
    let leave = "localStorage.clear(); \
        localStorage.setItem('feebox.changed', '{\"at\": [null]}'); localStorage.setItem('feebox.zone', 'Mars/Olympus'); \
        for (let size = 1 << 22, number = 0; size >= 1; ) { \
            try { localStorage.setItem('other' + number++, 'x'.repeat(size)); } catch { size >>= 1; } \
        } \
        try { localStorage.setItem('feebox.changed', 'x'.repeat(64)); return false; } catch { return true; }";
    assert_eq!(console.browser.run(leave, "").await, true, "there is room left");
    console.go(&format!("events/{event}")).await;
    console.waits_for("main [data-at][title]").await;
    assert_eq!(console.browser.run("return document.getElementById('zone').value", "").await, "local");
    retry(&console).await;
    assert_eq!(errors(&console).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_storage_shows_changes_and_another_time_zone() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    let refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } })";
    console.browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": refuse })).await;
    console.go(&format!("events/{event}")).await;
    let is_refused = "try { localStorage; return false } catch { return true }";
    assert_eq!(console.browser.run(is_refused, "").await, true);
    // A script has written it.
    console.waits_for("main [data-at][title]").await;
    let choose = "const it = document.getElementById('zone'); it.value = 'utc'; it.dispatchEvent(new Event('change', { bubbles: true }))";
    console.browser.run(choose, "").await;
    let utc = "return [...document.querySelectorAll('main [data-at]')].some((it) => (it.title + it.textContent).includes(' UTC'))";
    eventually("UTC", LIMIT, async || (console.browser.run(utc, "").await == true).then_some(())).await;
    retry(&console).await;
    assert_eq!(errors(&console).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_of_a_proxy_takes_nothing_away_and_is_told() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let mut console = Console::open(&desk).await;
    let service = console.base_url.trim_start_matches("http://").parse().unwrap();
    let page = "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned();
    let gateway = RawServer::start([Reply::Answer(502, &["content-type: text/html"], page)]).await;
    let proxy = Proxy::start(service).await;
    console.base_url = format!("http://{}", proxy.addr());
    console.go("events?status=dead").await;
    console.sees(".total", "1 event matches").await;
    console.mark().await;
    proxy.switch(gateway.base_url().trim_start_matches("http://").parse().unwrap());
    proxy.cut();
    console.sees("#stalled", "502").await;
    assert!(console.browser.text("main").await.contains(&event.to_string()[..8]));
    proxy.switch(service);
    desk.submit_refused().await;
    console.sees(".total", "2 events match").await;
    eventually("it is told no longer", LIMIT, async || (!console.has("#stalled p").await).then_some(())).await;
    console.was_not_reloaded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_succeeds_while_the_database_fails_and_the_page_comes_when_it_is_back() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let console = Console::open_with(&desk, &[("FEEBOX__ACCESS__TOKENS", TOKENS)]).await;
    console.go("events?status=dead").await;
    console.waits_for("input[name=token]").await;
    desk.sql("ALTER TABLE outbox_event RENAME TO hidden").await;
    console.log_in("boss-token").await;
    console.sees("header", "boss, operator").await;
    console.loses("input[name=token]").await;
    console.sees("main", "Internal server error").await;
    desk.sql("ALTER TABLE hidden RENAME TO outbox_event").await;
    console.sees(".total", "1 event matches").await;
}

/// What the console said that is an error of ours.
async fn errors(console: &Console) -> Vec<String> {
    let said = console.browser.console().await;
    said.into_iter().filter(|line| line.contains("Uncaught") || line.contains("SecurityError")).collect()
}
